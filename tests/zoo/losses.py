"""Losses: torch's criteria and their options, subclasses, functions, terms of parameters, losses that differentiate."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Case, Model, net, positive, signs


def _case(name: str, loss, *, model=None, act=nn.Tanh, **more) -> Case:
    return Case(f"losses/{name}", model or (lambda: net(act())), loss, **more)


def _relu(name: str, loss, **more) -> Case:
    return _case(name, loss, act=nn.ReLU, **more)


def _ce(**options):
    return nn.CrossEntropyLoss(**options)


def _weights(*values: float):
    return torch.tensor(values)


def _probabilities(n):
    return torch.rand(n, 3).softmax(1)


def _ignored(n):
    y = torch.randint(3, (n,))
    y[::3] = -100
    return y


def _edit_weights(model, loss, batches):
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([3.0, 0.2, 1.0]))


def _edit_targets(model, loss, batches):
    batches[0][1].fill_(0)


def _edit_inputs(model, loss, batches):
    batches[1][0].mul_(3)


class Focal(nn.CrossEntropyLoss):
    """(1 - p)^2 times the cross-entropy."""

    def forward(self, outputs, targets):
        losses = F.cross_entropy(outputs, targets, reduction="none")
        losses = (1 - (-losses).exp()) ** 2 * losses
        return losses if self.reduction == "none" else losses.mean()


class Temperature(nn.CrossEntropyLoss):
    def forward(self, outputs, targets):
        return super().forward(3 * outputs, targets)


class Smoothed(nn.CrossEntropyLoss):
    """With a fixed share of the entropy taken away."""

    def forward(self, outputs, targets):
        p = outputs.softmax(1)
        entropy = -(p * p.log()).sum(1)
        return super().forward(outputs, targets) - 0.3 * (entropy if self.reduction == "none" else entropy.mean())


class Renamed(nn.CrossEntropyLoss):
    """A subclass that changes nothing."""


class Quartic(nn.MSELoss):
    def forward(self, outputs, targets):
        losses = (outputs - targets) ** 4
        return losses if self.reduction == "none" else losses.mean()


class Own(nn.Module):
    """A criterion of one's own, with a reduction."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs, targets):
        losses = F.softplus(-outputs[:, 0] * (targets * 2.0 - 1))
        return losses if self.reduction == "none" else losses.mean()


class Decayed(nn.CrossEntropyLoss):
    """Cross-entropy and the squares of the model's parameters."""

    def __init__(self, model, power: int = 2) -> None:
        super().__init__()
        self.of, self.power = [model], power

    def forward(self, outputs, targets):
        term = sum((p.abs() ** self.power).sum() for p in self.of[0].parameters())
        return super().forward(outputs, targets) + 0.1 * term


class WithLayer(nn.CrossEntropyLoss):
    """A loss that applies a layer of the model again."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.of = [layer]

    def forward(self, outputs, targets):
        return super().forward(outputs @ self.of[0].weight, targets)


class Learned(nn.CrossEntropyLoss):
    """With a parameter of its own, which is not the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 1.7))

    def forward(self, outputs, targets):
        return super().forward(self.scale * outputs, targets)


def _with_model(criterion, act=nn.ReLU):
    def model():
        made = net(act())
        return made, criterion(made)

    return model


def _auxiliary_model():
    return Model(lambda m, x: m.head(F.relu(m.body(x))), body=nn.Linear(3, 3), head=nn.Linear(3, 3), aux=nn.Linear(3, 2))


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def with_decay(model, batch):
    return cross_entropy(model, batch) + 0.1 * sum(p.square().sum() for p in model.parameters())


def with_auxiliary(model, batch):
    x, y = batch
    return cross_entropy(model, batch) + F.cross_entropy(model.aux(F.relu(model.body(x))), y % 2, reduction="none")


def with_auxiliary_hooked(model, batch):
    aux = model.aux(x := batch[0])
    return F.cross_entropy(model(x), batch[1], reduction="none") + aux.square().sum(1)


def twice(model, batch):
    return cross_entropy(model, batch) + cross_entropy(model, (batch[0] * 0.5, batch[1]))


def consistency(model, batch):
    x, y = batch
    z = model(x)
    return F.cross_entropy(z, y, reduction="none") + (z - model(x + 0.1)).square().sum(1)


def self_distillation(model, batch):
    z = model(batch[0])
    return F.cross_entropy(z, batch[1], reduction="none") + (z - z.detach() * 0.5).square().sum(1)


def teacher(model, batch):
    with torch.no_grad():
        soft = (model(batch[0]) / 2).softmax(1)
    return F.cross_entropy(model(batch[0]), soft, reduction="none")


def contrastive(model, batch):
    h = F.normalize(model(batch[0]), dim=1)
    return F.cross_entropy(3 * h @ h.T, torch.arange(len(h)).roll(1), reduction="none")


def variance(model, batch):
    z = model(batch[0])
    return (z - z.mean(0)).square().sum(1)


def physics(model, batch):
    x = batch[0].clone().requires_grad_()
    u = model(x)[:, 0]
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return (du[:, 0] + u).square()


def physics_second_order(model, batch):
    x = batch[0].clone().requires_grad_()
    u = model(x)[:, 0]
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du[:, 0].sum(), x, create_graph=True)
    return (ddu[:, 0] - u).square()


def gradient_penalty(model, batch):
    x = batch[0].clone().requires_grad_()
    z = model(x)
    (slope,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    return F.cross_entropy(z, batch[1], reduction="none") + 0.1 * slope.square().sum(1)


def gradient_penalty_of_weights(model, batch):
    losses = cross_entropy(model, batch)
    slopes = torch.autograd.grad(losses.mean(), list(model.parameters()), create_graph=True)
    return losses + 0.1 * sum(g.square().sum() for g in slopes)


def adversarial(model, batch):
    x, y = batch[0].clone().requires_grad_(), batch[1]
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)
    return F.cross_entropy(model((x + 0.1 * slope.sign()).detach()), y, reduction="none")


def meta(model, batch):
    losses = cross_entropy(model, batch)
    names, params = zip(*model.named_parameters(), strict=True)
    slopes = torch.autograd.grad(losses.mean(), params, create_graph=True)
    moved = {n: p - 0.5 * g for n, p, g in zip(names, params, slopes, strict=True)}
    return F.cross_entropy(torch.func.functional_call(model, moved, (batch[0],)), batch[1], reduction="none")


def jacobian_norm(model, batch):
    jacobians = torch.vmap(torch.func.jacrev(model))(batch[0])
    return jacobians.square().sum((1, 2))


def scalar_mean(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def functional_weights(model, batch):
    w = model[0].weight
    return F.cross_entropy(F.linear(F.relu(F.linear(batch[0], w)), model[2].weight), batch[1], reduction="none")


def _counts(batch):
    return len(batch[0])


_COLUMN = {"model": lambda: net(nn.Tanh(), out=1), "y": lambda n: torch.randn(n)}
_SIGNS = {"y": signs(3)}

CASES = [
    _relu("CrossEntropyLoss", _ce()),
    _relu("CrossEntropyLoss smoothing", _ce(label_smoothing=0.2)),
    _relu("CrossEntropyLoss weights", _ce(weight=_weights(1.0, 2.0, 0.5))),
    _relu("CrossEntropyLoss weights smoothing", _ce(weight=_weights(1.0, 2.0, 0.5), label_smoothing=0.3)),
    _relu("CrossEntropyLoss weight of zero", _ce(weight=_weights(1.0, 0.0, 0.5))),
    _relu("CrossEntropyLoss ignores", _ce(), y=_ignored),
    _relu("CrossEntropyLoss ignores a class", _ce(ignore_index=1)),
    _relu("CrossEntropyLoss ignores with weights", _ce(ignore_index=1, weight=_weights(1.0, 2.0, 0.5))),
    _relu("CrossEntropyLoss ignores with smoothing", _ce(label_smoothing=0.2), y=_ignored),
    _relu("CrossEntropyLoss ignores a whole batch", _ce(), y=lambda n: torch.where(torch.arange(n) < 5, -100, 1)),
    _relu("CrossEntropyLoss ignores all", _ce(), y=lambda n: torch.full((n,), -100)),
    _relu("CrossEntropyLoss sum", _ce(reduction="sum")),
    _relu("CrossEntropyLoss none", _ce(reduction="none")),
    _relu("CrossEntropyLoss of probabilities", _ce(), y=_probabilities),
    _relu("CrossEntropyLoss of probabilities, weights", _ce(weight=_weights(1.0, 2.0, 0.5)), y=_probabilities),
    _relu("CrossEntropyLoss of probabilities, smoothing", _ce(label_smoothing=0.2), y=_probabilities),
    _relu("CrossEntropyLoss of soft targets that sum to less", _ce(), y=positive(3)),
    _relu("CrossEntropyLoss of soft targets that sum to zero", _ce(), y=lambda n: torch.randn(n, 3)),
    _relu("CrossEntropyLoss of multi-hot targets", _ce(), y=lambda n: torch.randint(2, (n, 3)).float()),
    _relu("CrossEntropyLoss weights edited", _ce(weight=_weights(1.0, 1.0, 1.0)), edit=_edit_weights),
    _case("CrossEntropyLoss weights edited, tanh", _ce(weight=_weights(1.0, 1.0, 1.0)), edit=_edit_weights),
    _case("NLLLoss weights edited", nn.NLLLoss(weight=_weights(1.0, 1.0, 1.0)), model=lambda: net(nn.LogSoftmax(1)), edit=_edit_weights),
    _case("NLLLoss", nn.NLLLoss(), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1))),
    _case("NLLLoss weights", nn.NLLLoss(weight=_weights(1.0, 2.0, 0.5)), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1))),
    _case("NLLLoss of logits", nn.NLLLoss()),
    _relu("MSELoss", nn.MSELoss(), y=(3,)),
    _relu("MSELoss sum", nn.MSELoss(reduction="sum"), y=(3,)),
    _case("MSELoss that broadcasts", nn.MSELoss(), **_COLUMN),
    _relu("L1Loss", nn.L1Loss(), y=(3,)),
    _relu("SmoothL1Loss", nn.SmoothL1Loss(beta=2.0), y=(3,)),
    _case("HuberLoss", nn.HuberLoss(delta=0.7), y=(3,)),
    _case("HuberLoss that broadcasts", nn.HuberLoss(), **_COLUMN),
    _relu("BCEWithLogitsLoss", nn.BCEWithLogitsLoss(), y=positive(3)),
    _relu("BCEWithLogitsLoss weights", nn.BCEWithLogitsLoss(weight=_weights(1.0, 2.0, 0.5), pos_weight=_weights(3.0, 1.0, 1.0)), y=positive(3)),
    _case("BCELoss", nn.BCELoss(), model=lambda: nn.Sequential(net(nn.Tanh()), nn.Sigmoid()), y=positive(3)),
    _case("BCELoss that broadcasts", nn.BCELoss(), model=lambda: nn.Sequential(net(nn.Tanh(), out=1), nn.Sigmoid()), y=positive()),
    _relu("PoissonNLLLoss", nn.PoissonNLLLoss(), y=positive(3)),
    _relu("PoissonNLLLoss not log", nn.PoissonNLLLoss(log_input=False, eps=0.1), model=lambda: nn.Sequential(net(nn.ReLU()), nn.Softplus()), y=positive(3)),
    _case("KLDivLoss batchmean", nn.KLDivLoss(reduction="batchmean"), model=lambda: nn.Sequential(net(nn.Tanh()), nn.LogSoftmax(1)), y=_probabilities),
    _case("KLDivLoss mean", nn.KLDivLoss(), model=lambda: nn.Sequential(net(nn.Tanh()), nn.LogSoftmax(1)), y=_probabilities),
    _case("KLDivLoss log targets", nn.KLDivLoss(reduction="batchmean", log_target=True), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1)), y=lambda n: torch.randn(n, 3).log_softmax(1)),
    _case("KLDivLoss that broadcasts", nn.KLDivLoss(), model=lambda: nn.Sequential(net(nn.Tanh(), out=1), nn.LogSigmoid()), y=positive()),
    _case("HingeEmbeddingLoss", nn.HingeEmbeddingLoss(), **_SIGNS),
    _case("HingeEmbeddingLoss that broadcasts", nn.HingeEmbeddingLoss(), model=lambda: net(nn.Tanh(), out=1), y=signs()),
    _case("SoftMarginLoss", nn.SoftMarginLoss(), **_SIGNS),
    _case("SoftMarginLoss that broadcasts", nn.SoftMarginLoss(), model=lambda: net(nn.Tanh(), out=1), y=signs()),
    _relu("MultiMarginLoss", nn.MultiMarginLoss(p=2)),
    _relu("MultiMarginLoss weights", nn.MultiMarginLoss(weight=_weights(1.0, 2.0, 0.5), p=2)),
    _relu("MultiLabelMarginLoss", nn.MultiLabelMarginLoss(), y=lambda n: torch.tensor([[1, -1, 0]]).repeat(n, 1)),
    _relu("MultiLabelSoftMarginLoss", nn.MultiLabelSoftMarginLoss(), y=positive(3)),
    _case("GaussianNLLLoss by function", lambda m, b: F.gaussian_nll_loss((z := m(b[0]))[:, 0], b[1], z[:, 1].exp(), reduction="none"), y=lambda n: torch.randn(n)),
    _case("TripletMarginLoss by function", lambda m, b: F.triplet_margin_loss(m(b[0]), m(b[0] + 1), m(b[1]), reduction="none"), y=(3,)),
    _case("CosineEmbeddingLoss by function", lambda m, b: F.cosine_embedding_loss(m(b[0]), b[0], b[1], reduction="none"), y=signs()),
    _case("CTCLoss by function", lambda m, b: F.ctc_loss(m(b[0]).log_softmax(-1).transpose(0, 1), b[1], torch.full((len(b[0]),), 4), torch.full((len(b[0]),), 2), reduction="none"), x=(4, 3), y=lambda n: torch.tensor([[1, 2]]).repeat(n, 1)),
    _case("AdaptiveLogSoftmax by function", lambda m, b: -m.s(torch.tanh(m.a(b[0])), b[1]).output, model=lambda: Model(lambda m, x: m.a(x), a=nn.Linear(3, 3), s=nn.AdaptiveLogSoftmaxWithLoss(3, 4, [2], div_value=1.0)), y=4),
    _relu("focal", Focal()),
    _relu("temperature", Temperature()),
    _relu("entropy taken away", Smoothed()),
    _relu("renamed", Renamed()),
    _relu("quartic", Quartic(), y=(3,)),
    _relu("criterion of one's own", Own(), y=2),
    _case("criterion of one's own, tanh", Own(), y=2),
    _case("functional", F.cross_entropy),
    _case("a string", "cross_entropy"),
    _relu("decay in the criterion", None, model=_with_model(Decayed)),
    _relu("absolute decay in the criterion", None, model=_with_model(lambda m: Decayed(m, 1))),
    _relu("quartic decay in the criterion", None, model=_with_model(lambda m: Decayed(m, 4))),
    _relu("layer again in the criterion", None, model=_with_model(lambda m: WithLayer(m[2]))),
    _relu("parameter of the criterion's own", Learned()),
    _case("decay in the function", with_decay, act=nn.ReLU),
    _case("auxiliary head", with_auxiliary, model=_auxiliary_model),
    _case("auxiliary head on inputs", with_auxiliary_hooked, model=lambda: Model(lambda m, x: m.head(F.relu(m.body(x))), body=nn.Linear(3, 3), head=nn.Linear(3, 3), aux=nn.Linear(3, 2))),
    _case("functional weights", functional_weights, act=nn.ReLU),
    _case("function", cross_entropy, act=nn.ReLU),
    _case("model called twice", twice, act=nn.ReLU),
    _case("consistency", consistency, act=nn.ReLU),
    _case("self-distillation", self_distillation, act=nn.ReLU),
    _case("its own teacher", teacher),
    _case("contrastive", contrastive),
    _case("contrastive in one batch", contrastive, sizes=(9,)),
    _case("variance over the batch", variance, sizes=(9,)),
    _case("physics-informed", physics, grad=True),
    _case("physics-informed, second order", physics_second_order, grad=True),
    _case("physics-informed relu", physics, act=nn.ReLU, grad=True),
    _case("gradient penalty", gradient_penalty, grad=True),
    _case("gradient penalty relu", gradient_penalty, act=nn.ReLU, grad=True),
    _case("gradient penalty of weights", gradient_penalty_of_weights, grad=True),
    _case("adversarial", adversarial, grad=True),
    _case("meta-learning", meta, grad=True),
    _case("jacobian norm", jacobian_norm),
    _case("scalar with weight", scalar_mean, act=nn.ReLU, options={"weight": _counts}),
    _case("scalar with weight, tanh", scalar_mean, options={"weight": _counts}),
    _case("scalar without weight", scalar_mean),
    _case("scalar with a weight that couples", lambda m, b: variance(m, b).mean(), options={"weight": _counts}, sizes=(9,)),
    _case("per entry", lambda m, b: (m(b[0]) - b[1]) ** 2, y=(3,)),
    _case("constant", lambda m, b: m(b[0])[:, 0] * 0 + 1.0),
    _case("linear in the output", lambda m, b: m(b[0])[:, 0], act=nn.ReLU),
    _case("not convex", lambda m, b: m(b[0])[:, 0].sin(), act=nn.ReLU),
    _case("rank", lambda m, b: F.relu(1 - m(b[0])[:, 0] + m(b[0]).roll(1, 0)[:, 0]) ** 2, sizes=(9,)),
    _case("negative examples", lambda m, b: -cross_entropy(m, b), act=nn.ReLU),
    _case("targets edited", _ce(), edit=_edit_targets),
    _case("inputs edited", _ce(), edit=_edit_inputs),
]  # fmt: skip

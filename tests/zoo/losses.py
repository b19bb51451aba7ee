"""Losses: torch's criteria and their options, subclasses, functions, terms of parameters, losses that differentiate."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Case, net, positive, signs


def case(name: str, loss, *, model=None, act=nn.Tanh, **more) -> Case:
    return Case(f"losses/{name}", model or (lambda: net(act())), loss, **more)


def _relu(name: str, loss, **more) -> Case:
    return case(name, loss, act=nn.ReLU, **more)


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


_COLUMN = {"model": lambda: net(nn.Tanh(), out=1), "y": lambda n: torch.randn(n)}
_SIGNS = {"y": signs(3)}
_CUT = {"sizes": (9,), "options": {"microbatch": 3}}  # which shows whether examples see each other

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
    case("CrossEntropyLoss weights edited, tanh", _ce(weight=_weights(1.0, 1.0, 1.0)), edit=_edit_weights),
    case("NLLLoss weights edited", nn.NLLLoss(weight=_weights(1.0, 1.0, 1.0)), model=lambda: net(nn.LogSoftmax(1)), edit=_edit_weights),
    case("NLLLoss", nn.NLLLoss(), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1))),
    case("NLLLoss weights", nn.NLLLoss(weight=_weights(1.0, 2.0, 0.5)), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1))),
    case("NLLLoss of logits", nn.NLLLoss()),
    _relu("MSELoss", nn.MSELoss(), y=(3,)),
    _relu("MSELoss sum", nn.MSELoss(reduction="sum"), y=(3,)),
    case("MSELoss that broadcasts", nn.MSELoss(), **_COLUMN, **_CUT),
    _relu("L1Loss", nn.L1Loss(), y=(3,)),
    _relu("SmoothL1Loss", nn.SmoothL1Loss(beta=2.0), y=(3,)),
    case("HuberLoss", nn.HuberLoss(delta=0.7), y=(3,)),
    case("HuberLoss that broadcasts", nn.HuberLoss(), **_COLUMN, **_CUT),
    _relu("BCEWithLogitsLoss", nn.BCEWithLogitsLoss(), y=positive(3)),
    _relu("BCEWithLogitsLoss weights", nn.BCEWithLogitsLoss(weight=_weights(1.0, 2.0, 0.5), pos_weight=_weights(3.0, 1.0, 1.0)), y=positive(3)),
    case("BCELoss", nn.BCELoss(), model=lambda: nn.Sequential(net(nn.Tanh()), nn.Sigmoid()), y=positive(3)),
    case("BCELoss that broadcasts", nn.BCELoss(), model=lambda: nn.Sequential(net(nn.Tanh(), out=1), nn.Sigmoid()), y=positive(), **_CUT),
    _relu("PoissonNLLLoss", nn.PoissonNLLLoss(), y=positive(3)),
    _relu("PoissonNLLLoss not log", nn.PoissonNLLLoss(log_input=False, eps=0.1), model=lambda: nn.Sequential(net(nn.ReLU()), nn.Softplus()), y=positive(3)),
    case("KLDivLoss batchmean", nn.KLDivLoss(reduction="batchmean"), model=lambda: nn.Sequential(net(nn.Tanh()), nn.LogSoftmax(1)), y=_probabilities),
    case("KLDivLoss mean", nn.KLDivLoss(), model=lambda: nn.Sequential(net(nn.Tanh()), nn.LogSoftmax(1)), y=_probabilities),
    case("KLDivLoss log targets", nn.KLDivLoss(reduction="batchmean", log_target=True), model=lambda: nn.Sequential(net(nn.ReLU()), nn.LogSoftmax(1)), y=lambda n: torch.randn(n, 3).log_softmax(1)),
    case("KLDivLoss that broadcasts", nn.KLDivLoss(), model=lambda: nn.Sequential(net(nn.Tanh(), out=1), nn.LogSigmoid()), y=positive(), **_CUT),
    case("HingeEmbeddingLoss", nn.HingeEmbeddingLoss(), **_SIGNS),
    case("HingeEmbeddingLoss that broadcasts", nn.HingeEmbeddingLoss(), model=lambda: net(nn.Tanh(), out=1), y=signs(), **_CUT),
    case("SoftMarginLoss", nn.SoftMarginLoss(), **_SIGNS),
    case("SoftMarginLoss that broadcasts", nn.SoftMarginLoss(), model=lambda: net(nn.Tanh(), out=1), y=signs(), **_CUT),
    _relu("MultiMarginLoss", nn.MultiMarginLoss(p=2)),
    _relu("MultiMarginLoss weights", nn.MultiMarginLoss(weight=_weights(1.0, 2.0, 0.5), p=2)),
    _relu("MultiLabelMarginLoss", nn.MultiLabelMarginLoss(), y=lambda n: torch.tensor([[1, -1, 0]]).repeat(n, 1)),
    _relu("MultiLabelSoftMarginLoss", nn.MultiLabelSoftMarginLoss(), y=positive(3)),
    _relu("focal", Focal()),
    _relu("temperature", Temperature()),
    _relu("entropy taken away", Smoothed()),
    _relu("renamed", Renamed()),
    _relu("quartic", Quartic(), y=(3,)),
    _relu("criterion of one's own", Own(), y=2),
    case("criterion of one's own, tanh", Own(), y=2),
    case("functional", F.cross_entropy),
    case("a string", "cross_entropy"),
    _relu("decay in the criterion", None, model=_with_model(Decayed)),
    _relu("absolute decay in the criterion", None, model=_with_model(lambda m: Decayed(m, 1))),
    _relu("quartic decay in the criterion", None, model=_with_model(lambda m: Decayed(m, 4))),
    _relu("layer again in the criterion", None, model=_with_model(lambda m: WithLayer(m[2]))),
    _relu("parameter of the criterion's own", Learned()),
    case("targets edited", _ce(), edit=_edit_targets),
    case("inputs edited", _ce(), edit=_edit_inputs),
]  # fmt: skip

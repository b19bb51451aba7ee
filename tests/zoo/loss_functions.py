"""Losses that are functions of (model, batch): terms of parameters, several calls, couplings, derivatives inside."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.case import Model, signs
from tests.zoo.losses import case as _case


def _auxiliary_model():
    return Model(
        lambda m, x: m.head(F.relu(m.body(x))), body=nn.Linear(3, 3), head=nn.Linear(3, 3), aux=nn.Linear(3, 2)
    )


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


CASES = [
    _case("GaussianNLLLoss by function", lambda m, b: F.gaussian_nll_loss((z := m(b[0]))[:, 0], b[1], z[:, 1].exp(), reduction="none"), y=lambda n: torch.randn(n)),
    _case("TripletMarginLoss by function", lambda m, b: F.triplet_margin_loss(m(b[0]), m(b[0] + 1), m(b[1]), reduction="none"), y=(3,)),
    _case("CosineEmbeddingLoss by function", lambda m, b: F.cosine_embedding_loss(m(b[0]), b[0], b[1], reduction="none"), y=signs()),
    _case("CTCLoss by function", lambda m, b: F.ctc_loss(m(b[0]).log_softmax(-1).transpose(0, 1), b[1], torch.full((len(b[0]),), 4), torch.full((len(b[0]),), 2), reduction="none"), x=(4, 3), y=lambda n: torch.tensor([[1, 2]]).repeat(n, 1)),
    _case("AdaptiveLogSoftmax by function", lambda m, b: -m.s(torch.tanh(m.a(b[0])), b[1]).output, model=lambda: Model(lambda m, x: m.a(x), a=nn.Linear(3, 3), s=nn.AdaptiveLogSoftmaxWithLoss(3, 4, [2], div_value=1.0)), y=4),
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
]  # fmt: skip

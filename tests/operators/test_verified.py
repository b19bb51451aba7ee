"""Models and losses whose structure promises an exact trace that numbers deny, against a Hessian by differences."""

import pytest
import torch
import torch.nn.utils.prune as prune
from torch import nn
from torch.nn import functional

from landscape import Objective, measure

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(12) % 3
FRAMES = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(1)).double()


def net():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


class Layers(nn.Module):
    """Two layers and a way to use them; ``extra`` has what else a case keeps."""

    def __init__(self, use, a=(4, 5), b=(5, 3), **extra):
        super().__init__()
        self.use, self.a, self.b = use, nn.Linear(*a), nn.Linear(*b)
        for name, module in extra.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.use(self, x)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


Relu = type("Relu", (Cube,), {})  # by name piecewise linear


class Focal(nn.CrossEntropyLoss):
    def forward(self, z, target):
        losses = functional.cross_entropy(z, target, reduction="none")
        return (1 - torch.exp(-losses)) ** 2 * losses


class Temperature(nn.CrossEntropyLoss):
    def forward(self, z, target):
        return functional.cross_entropy(2 * z, target, reduction=self.reduction)


def each(z, target):
    return functional.cross_entropy(z, target, reduction="none")


def with_penalty(model, batch):
    return each(model(batch[0]), batch[1]) + 0.1 * sum(p.square().sum() for p in model.parameters())


def with_auxiliary(model, batch):
    return each(model(batch[0]), batch[1]) + each(model.aux(model.hidden), batch[1])


def keeping(model, x):
    model.hidden = torch.relu(model.a(x))
    return model.b(model.hidden)


def folded(model, x):
    n, t, d = x.shape
    return model.b(torch.relu(model.a(x.reshape(n * t, d))).reshape(n, t, -1).mean(1))


def siamese(model, x):
    first, second = torch.relu(model.a(torch.cat([x[:, :2], x[:, 2:]]))).chunk(2)
    return model.b(first + second)


def shared():
    model = Layers(lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x))))), b=(5, 5), a=(4, 5), c=nn.Linear(5, 3))
    model.a = nn.Linear(4, 5)
    model.d = nn.Linear(5, 5)
    model.d.weight = model.b.weight
    model.use = lambda m, x: m.c(torch.relu(m.d(torch.relu(m.b(torch.relu(m.a(x)))))))
    return model


def hooked():
    model = net()
    model[0].register_forward_hook(lambda module, inputs, output: output**2)
    return model


def pruned():
    model = net()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


CASES = {
    "a penalty in the loss": (net, with_penalty, X),
    "an auxiliary head": (lambda: Layers(keeping, aux=nn.Linear(5, 3)), with_auxiliary, X),
    "a focal loss": (net, Focal(), X),
    "a temperature": (net, Temperature(), X),
    "frames in the batch": (lambda: Layers(folded), nn.CrossEntropyLoss(), FRAMES),
    "sequence first": (
        lambda: Layers(lambda m, x: m.b(torch.relu(m.a(x.transpose(0, 1))).mean(0))),
        nn.CrossEntropyLoss(),
        FRAMES,
    ),
    "a siamese network": (lambda: Layers(siamese, a=(2, 5)), nn.CrossEntropyLoss(), X),
    "a weight used again": (
        lambda: Layers(lambda m, x: m.b(torch.relu(m.a(x)) + functional.linear(x, m.a.weight))),
        nn.CrossEntropyLoss(),
        X,
    ),
    "modules that share a weight": (shared, nn.CrossEntropyLoss(), X),
    "a hook": (hooked, nn.CrossEntropyLoss(), X),
    "examples mixed a little": (
        lambda: Layers(lambda m, x: m.b(torch.relu(m.a(x))) + 1e-3 * m.b(torch.relu(m.a(x))).mean(0)),
        nn.CrossEntropyLoss(),
        X,
    ),
    "a function called Relu": (lambda: Layers(lambda m, x: m.b(Relu.apply(m.a(x)))), nn.CrossEntropyLoss(), X),
    "pruning": (pruned, nn.CrossEntropyLoss(), X),
    "an argument by name": (lambda: Layers(lambda m, x: m.b(torch.relu(m.a(input=x)))), nn.CrossEntropyLoss(), X),
    "soft targets": (net, nn.CrossEntropyLoss(), X),
    "batch means": (net, lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]), X),
}

CURVED_OTHERWISE = ("a focal loss", "a temperature", "soft targets")  # in the output alone: exact, by autograd there


def objective_of(name):
    torch.manual_seed(3)
    make, loss, x = CASES[name]
    y = 2 * torch.rand(12, 3).double() if name == "soft targets" else Y
    weight = (lambda batch: len(batch[1])) if name == "batch means" else None
    return Objective(make().double(), loss, [(x, y)], weight=weight)


def diagonal_by_differences(objective, step=1e-5):
    w, found = objective.vector(), []
    for i in range(len(w)):
        move = torch.zeros_like(w)
        move[i] = step
        found.append(((objective.gradient(at=w + move) - objective.gradient(at=w - move)) / (2 * step))[i])
    return torch.stack(found)


@pytest.mark.parametrize("name", CASES)
def test_the_trace_is_within_its_interval(name):
    objective = objective_of(name)
    truth = diagonal_by_differences(objective).sum().item()
    for found in (measure.trace(objective, rel_error=0.01), measure.layer_table(objective, rel_error=0.01)):
        low, high = found.interval()
        assert low - 1e-5 * abs(truth) <= truth <= high + 1e-5 * abs(truth)
    details = measure.trace(objective, rel_error=0.01).details
    if name not in CURVED_OTHERWISE:
        assert details["method"] == "deflated"
        assert len(details["not_exact"]) > 20


def test_what_is_exact_stays_exact():
    objective = Objective(net().double(), nn.CrossEntropyLoss(label_smoothing=0.1), [(X[:5], Y[:5]), (X[5:], Y[5:])])
    found = measure.trace(objective)
    assert (found.error_kind, found.details["method"]) == ("none", "exact")
    assert found.value == pytest.approx(diagonal_by_differences(objective).sum().item(), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_scale_of_the_loss_does_not_matter(scale):
    model = Layers(lambda m, x: m.b(torch.relu(m.a(x)) + functional.linear(x, m.a.weight))).double()
    objective = Objective(model, lambda model, batch: scale * each(model(batch[0]), batch[1]), [(X, Y)])
    assert measure.trace(objective).details["method"] == "deflated"
    objective = Objective(net().double(), lambda model, batch: scale * each(model(batch[0]), batch[1]), [(X, Y)])
    assert measure.trace(objective).details["method"] == "exact"


def test_examples_that_the_first_rows_do_not_show():
    late = torch.cat([X, (torch.arange(12) >= 6).double()[:, None]], 1)

    def loss(model, batch):
        z = model(batch[0][:, :4])
        return each(z, batch[1]) + batch[0][:, 4] * model.b.weight.square().sum()

    model = Layers(lambda m, x: m.b(m.a(x).relu())).double()
    trace = measure.trace(Objective(model, loss, [(late, Y)]), rel_error=0.01)
    plain = measure.trace(Objective(model, lambda m, b: each(m(b[0][:, :4]), b[1]), [(late, Y)]))
    assert trace.interval()[0] <= plain.value + 2 * 0.5 * 15 <= trace.interval()[1]


def test_a_loss_that_acts_otherwise_on_few_examples():
    class Rare(nn.CrossEntropyLoss):
        def forward(self, outputs, y):
            return super().forward(torch.where((y == 2)[:, None], 3 * outputs, outputs), y)

    torch.manual_seed(0)
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)).double()
    y = torch.where(torch.arange(400) % 29 == 7, 2, torch.arange(400) % 2)
    objective = Objective(net().double(), Rare(), [(x, y)])
    found, other = (measure.trace(objective, method=method, rel_error=1e-6) for method in ("auto", "deflated"))
    assert found.value == pytest.approx(other.value, rel=1e-6)


def test_a_loss_that_is_not_finite_for_one_example_alone_falls_back():
    torch.manual_seed(0)
    spread = lambda model, x: torch.relu(1 - (model(x).var(0) + 1e-4).sqrt()).mean()  # noqa: E731
    objective = Objective(net().double(), spread, [X], weight=len)
    found = measure.trace(objective)
    assert found.converged, found.reason
    assert found.value == pytest.approx(measure.trace(objective, method="deflated").value, rel=0.05)

"""Gradients and products that are not the loss' are refused by name; right ones never, whatever kinks they have."""

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from landscape import GaussNewton, Hessian, Objective, analyze, measure
from landscape.derivatives import DerivativeError
from landscape.operators import EmpiricalFisher, SecondDerivativeError
from tests.zoo.case import Apply, Model

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
Y = torch.arange(40) % 3


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


def net(*layers, x=6, hidden=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(x, hidden), *layers, nn.Linear(hidden, 3)).double()


def objective(model, **options):
    return Objective(model, nn.CrossEntropyLoss(), [(X, Y)], **options)


def halve(g):
    return g / 2


def hooked(h):
    if h.requires_grad:
        h.register_hook(halve)
    return h


WRONG_GRADIENTS = {
    "hook on a tensor": (lambda: net(nn.Tanh(), Apply(hooked)), "0.weight, 0.bias"),
    "detach": (lambda: net(Apply(lambda h: h * torch.sigmoid(h.detach()))), "0.weight, 0.bias"),
    "straight through": (lambda: net(Apply(lambda h: h + (h.round() - h).detach())), "0.weight, 0.bias"),
    "piecewise constant": (lambda: net(Apply(lambda h: h + (torch.sign(h) - h).detach())), "0.weight, 0.bias"),
    "one layer of many": (
        lambda: net(*(layer for _ in range(6) for layer in (nn.Linear(8, 8), nn.Tanh())), Apply(hooked)),
        "0.weight, 0.bias, 1.weight and 11 more",
    ),
}


@pytest.mark.parametrize("name", WRONG_GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_of_another_function_is_refused_and_located(name, dtype):
    make, where = WRONG_GRADIENTS[name]
    one = objective(make(), dtype=dtype)
    with pytest.raises(DerivativeError, match=f"not that of the loss.*in {where}"):
        one.gradient()
    with pytest.raises(DerivativeError):  # again, from what is remembered
        Hessian(one) @ one.vector()
    assert measure.loss(one).converged
    trace = measure.trace(one)
    assert not trace.converged
    assert "gradient" in trace.reason


def test_the_padding_row_of_an_embedding_is_refused():
    ids = torch.randint(9, (40, 5), generator=torch.Generator().manual_seed(0))
    ids[:, 3:] = 0
    torch.manual_seed(0)
    model = Model(lambda m, x: m.fc(m.e(x).mean(1)), e=nn.Embedding(9, 4, padding_idx=0), fc=nn.Linear(4, 3))
    nn.init.normal_(model.e.weight)
    with pytest.raises(DerivativeError, match=r"in e\.weight"):
        Objective(model, nn.CrossEntropyLoss(), [(ids, Y)]).gradient()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_another_loss_without_gradients_is_refused():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    torch.manual_seed(0)
    model = Model(
        lambda m, x: m.fc(m.encoder(x, src_key_padding_mask=(torch.arange(5) > 2).expand(len(x), 5)).mean(1)),
        encoder=nn.TransformerEncoder(layer, 1),
        fc=nn.Linear(8, 3),
    ).eval()
    with pytest.raises(ValueError, match=r"with gradients on.*set_fastpath_enabled"):
        Objective(model, nn.CrossEntropyLoss(), [(torch.randn(40, 5, 8), Y)])


def test_another_loss_without_gradients_is_refused_in_any_batch():
    model = Model(
        lambda m, x: m.fc(x[:, 1:] * (1.0 if x[0, 0] > 0 or torch.is_grad_enabled() else 2.0)), fc=nn.Linear(5, 3)
    )
    x = X.float()
    x[:, 0] = (torch.arange(40) < 30) * 1.0
    one = Objective(model, nn.CrossEntropyLoss(), list(zip(x.split(10), Y.split(10), strict=True)))
    with pytest.raises(DerivativeError, match="with gradients on"):
        one.gradient()


def test_a_model_that_writes_to_its_weights_is_refused():
    model = Model(lambda m, x: m.fc(m.e(x).mean(1)), e=nn.Embedding(9, 4, max_norm=0.5), fc=nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"writes to its 'e.weight'.*max_norm"):
        Objective(model, nn.CrossEntropyLoss(), [(torch.randint(9, (40, 5)), Y)])


def captured_by_a_function():
    model = net(nn.ReLU())
    weights = [p for p in model.parameters() if p.ndim > 1]

    def loss(one, batch):
        each = functional.cross_entropy(one(batch[0]), batch[1], reduction="none")
        return each + 0.01 * sum(p.square().sum() for p in weights)

    return model, loss


def captured_by_a_criterion():
    model = net(nn.ReLU())

    class Penalized(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.kept = list(model.parameters())

        def forward(self, z, y):
            return super().forward(z, y) + 0.01 * sum(p.square().sum() for p in self.kept)

    return model, Penalized()


def captured_by_a_hook():
    model = net(nn.ReLU())
    weight = model[0].weight
    model[0].register_forward_hook(lambda _, x, y: y + weight.sum(1))
    return model, nn.CrossEntropyLoss()


@pytest.mark.parametrize("make", [captured_by_a_function, captured_by_a_criterion, captured_by_a_hook])
def test_parameters_used_beside_the_model_are_refused(make):
    with pytest.raises(ValueError, match=r"The loss uses 0\.weight.*beside the model"):
        Objective(*make(), [(X, Y)])


def test_what_is_verified_follows_edits():
    model = net(nn.Tanh())
    one = objective(model)
    one.gradient()
    model[2].register_full_backward_pre_hook(lambda _, out: tuple(g / 2 for g in out))
    with pytest.raises(DerivativeError):
        one.gradient()


@pytest.mark.parametrize("size", [40, 10])
def test_the_sample_is_of_rows_here_and_there(size):
    rows = torch.cat([X, (torch.arange(40) >= 30).double()[:, None]], 1)

    def loss(one, batch):
        z, late = one(batch[0][:, :6]), batch[0][:, 6:] > 0
        return functional.cross_entropy(torch.where(late, z * z.detach(), z), batch[1], reduction="none")

    with pytest.raises(DerivativeError):
        Objective(net(nn.Tanh()), loss, list(zip(rows.split(size), Y.split(size), strict=True))).gradient()


def test_products_that_are_not_twice_differentiable_give_way_to_differences():
    plain, once = net(Apply(torch.square)), net(Apply(Square.apply))
    H = Hessian(objective(once))
    v = torch.ones(H.shape[0], dtype=torch.float64)
    truth = Hessian(objective(plain)) @ v
    assert torch.allclose(H @ v, truth, rtol=1e-5, atol=1e-6 * float(truth.norm()))
    assert H.engine.startswith("finite differences")
    with pytest.raises(SecondDerivativeError, match=r"in 0.weight, 0.bias, 2.weight and 1 more"):
        Hessian(objective(once), engine="exact") @ v


@pytest.mark.parametrize("operator", [GaussNewton, EmpiricalFisher])
def test_every_operator_holds_its_first_product_against_differences(operator):
    right = operator(objective(net(nn.Tanh())))
    assert (right @ torch.ones(right.shape[0])).norm() > 0

    class Wrong(operator):
        def _product(self, rows):
            return super()._product(rows) * (1 + 0.01 * (torch.arange(rows.shape[1]) < 48))

    wrong = Wrong(objective(net(nn.Tanh())))
    with pytest.raises(SecondDerivativeError, match=r"in 0.weight:"):
        wrong @ torch.ones(wrong.shape[0])


def zero_biases_on_black_pixels():
    model = net(nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return model


def fitted():
    model = net(nn.ReLU())
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=300)
    optimizer.step(lambda: (optimizer.zero_grad(), (loss := functional.cross_entropy(model(X), Y)).backward(), loss)[2])
    return model


class Float32Inside(nn.Module):
    """Cannot compute in another dtype: what it makes itself is float32."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(x) @ torch.eye(3, dtype=torch.float32)


def many(act):
    return (layer for _ in range(5) for layer in (nn.Linear(200, 200), act()))


def dead():
    model = net(nn.ReLU())
    nn.init.constant_(model[0].bias, -100.0)
    return model


RIGHT = {
    "kinks at the weights": (zero_biases_on_black_pixels, torch.zeros(40, 6)),
    "ties": (lambda: net(Apply(lambda h: functional.max_pool1d(h, 2).repeat(1, 2))), torch.zeros(40, 6)),
    "fitted": (fitted, X),
    "dead": (dead, X),
    "all zero": (lambda: net(nn.Tanh()).apply(lambda m: [nn.init.zeros_(p) for p in m.parameters()]), X),
    "float32 alone": (lambda: Float32Inside().float(), X.float()),
    "large": (lambda: net(Apply(lambda h: 1e6 * h), nn.Tanh()), X),
    "bfloat16 inside": (lambda: net(Apply(lambda h: h.bfloat16().tanh().double())), X),
    "far beyond float32": (lambda: net(Apply(lambda h: 1e-30 * h)), X),
    "a thousand kinks": (lambda: net(nn.ReLU(), *many(nn.ReLU), hidden=200), X),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("shift", [0.0, 1e-9])
def test_what_is_right_is_not_refused(name, shift):
    make, x = RIGHT[name]
    model = make()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(shift)
    one = Objective(model, nn.CrossEntropyLoss(), [(x, Y)], dtype=x.dtype)
    one.gradient()
    Hessian(one, engine="exact") @ one.vector()
    GaussNewton(one) @ one.vector()


def test_verified_once_and_shared_with_parts(monkeypatch):
    one, calls = objective(net(nn.Tanh())), []
    evaluate = Objective.value
    monkeypatch.setattr(Objective, "value", lambda self, at=None: (calls.append(at), evaluate(self, at))[1])
    one.gradient()
    assert sum(at is not None for at in calls) == 2
    calls.clear()
    one.gradient(at=2 * one.vector())
    one.over([(X[:7], Y[:7])]).gradient()
    analyze(one, metrics=["gradient_norm", "lambda_max"])
    assert not any(at is not None for at in calls)


def test_a_surface_needs_no_gradient_and_says_that_it_is_another():
    from landscape.surface import line

    found = line(objective(WRONG_GRADIENTS["hook on a tensor"][0]()), num_points=5)
    (check,) = found.details["checks"]["curvature"]
    assert check["agrees"] is False
    assert "gradient" in check["reason"]


def rounded_inside(act, cast):
    """A network whose activation is computed in a coarser dtype."""
    torch.manual_seed(0)
    return Model(lambda m, x: m.b(act(m.a(x).to(cast)).to(x.dtype)), a=nn.Linear(6, 8), b=nn.Linear(8, 3)).double()


@pytest.mark.parametrize("cast", [torch.float32, torch.bfloat16])
def test_a_cast_on_the_way_hides_no_wrong_gradient(cast):
    def halved(h):
        h = h.tanh()
        if h.requires_grad:
            h.register_hook(halve)
        return h

    for act in (halved, lambda h: h * h.sigmoid().detach()):
        with pytest.raises(DerivativeError, match="not that of the loss"):
            objective(rounded_inside(act, cast)).gradient()
    right = objective(rounded_inside(torch.tanh, cast))
    assert right.gradient().norm() > 0
    assert measure.trace(right).converged


@pytest.mark.parametrize("cast", [torch.float32, torch.bfloat16])
def test_nor_a_wrong_product_and_differences_step_over_no_stairs(cast):
    true = measure.trace(objective(rounded_inside(torch.square, torch.float64)), rel_error=1e-6)
    found = measure.trace(objective(rounded_inside(Square.apply, cast)))
    assert found.converged
    assert "differences" in found.details["engine"]
    assert abs(found.value - true.value) <= found.half_width()


def test_a_cast_to_float32_in_a_float32_model_hides_nothing_in_float64():
    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx, g):  # noqa: ARG004
            return -0.1 * g

    torch.manual_seed(0)
    model = Model(lambda m, x: (m.b(torch.tanh(m.a(x))) + m.c(Reversed.apply(m.a(x)))).float(),
                  a=nn.Linear(6, 8), b=nn.Linear(8, 3), c=nn.Linear(8, 3))  # fmt: skip
    with pytest.raises(DerivativeError):
        Objective(model, nn.CrossEntropyLoss(), [(X.float(), Y)]).gradient()

"""The rounding of a model's dtype: what it is measured to be, and that every error bar holds with it."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from landscape import Objective, measure
from landscape.measure.metric import Work
from landscape.measure.rounding import Rounding, rounded, rounding_of
from landscape.results import Measurement
from landscape.widened import widened
from tests.cases import make
from tests.matrices import seeded
from tests.test_objective import objective_of
from tests.zoo.test_zoo import CASES

ROUNDED = [
    "dtypes/bfloat16",
    "dtypes/bfloat16 relu",
    "dtypes/float16 relu",
    "dtypes/bfloat16 near a minimum",
    "dtypes/float32 measured in bfloat16",
    "dtypes/one layer in bfloat16",
    "dtypes/middle in bfloat16, float64 around",
    "dtypes/autocast inside",
    "dtypes/autocast in the loss",
    "dtypes/weights rounded on the way",
    "dtypes/losses that cancel in float32",
    "dtypes/large outputs that cancel in float32",
]
FEWER = {"top_eigenvalues": {"k": 5}, "average_sharpness": {"max_probes": 64}}
METRICS = [
    *("loss", "gradient_norm", "trace", "normalized_trace", "lambda_max", "lambda_min", "layer_table"),
    *("top_eigenvalues", "spectral_density", "effective_dimension", "negative_share"),
    *("zeroth_order_flatness", "first_order_flatness", "average_sharpness", "gradient_curvature"),
]


def objectives(name):
    """As the model is computed, and without rounding but that of the weights, which are as they are."""
    case = CASES[name]
    options = dict(case.options)
    model, *rest = case.build(case.seed)
    other, *others = case.build(case.seed, reference=True)
    with torch.no_grad():
        for exact, given in zip(other.parameters(), model.parameters(), strict=True):
            exact.copy_(given)
    return Objective(model, *rest, **options), Objective(other, *others, **options | {"dtype": torch.float64})


@pytest.mark.parametrize("name", ROUNDED)
def test_every_error_bar_holds(name):
    found, exact = objectives(name)
    for metric in METRICS:
        options = FEWER.get(metric, {})
        measured, true = (getattr(measure, metric)(one, **options) for one in (found, exact))
        if measured.converged:
            low, high = measured.interval()
            slack = 1e-5 * abs(true.value) + (true.half_width() if math.isfinite(true.half_width()) else 0.0)
            assert low - slack <= true.value <= high + slack, (metric, str(measured), str(true))


def test_an_exact_number_is_called_exact_no_more():
    measured = measure.loss(objectives("dtypes/autocast inside")[0])
    assert measured.error_kind == "bound"
    assert measured.std_error > 1e-4
    assert "rounding" in measured.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm", "attention"])
def test_single_and_double_precision_stay_exact(name, dtype):
    case = make(name)
    case.model.to(dtype)
    data = [(x.to(dtype) if x.is_floating_point() else x, y) for x, y in case.batches(16)]
    objective = Objective(case.model, case.criterion, data)
    found = rounding_of(objective)
    assert (found.product, found.unknown) == (0, False)
    assert found.of_loss(objective.value()) == found.of_gradient(float(objective.gradient().norm())) == 0
    assert (found == Rounding()) == (dtype == torch.float64)


def test_gradients_of_float32_that_cancel_are_not_exact():
    """At the minimum of a regression: the gradients of the examples are of size 1, and sum to rounding."""
    x, y = torch.randn(64, 4, generator=seeded(0)), torch.randn(64, 1, generator=seeded(1))
    model = nn.Linear(4, 1, bias=False)
    model.weight.data = torch.linalg.lstsq(x, y).solution.T.contiguous()
    found, exact = (Objective(model, nn.MSELoss(), [(x, y)], dtype=dtype) for dtype in (None, torch.float64))
    measured, true = measure.gradient_norm(found), measure.gradient_norm(exact)
    low, high = measured.interval()
    assert low <= true.value <= high
    assert not measured.converged
    assert measure.loss(found).std_error == 0


def test_the_bar_of_a_fitted_network_in_float32_is_what_its_loss_and_gradient_are_off_by():
    case = make("mlp_relu")
    model = case.model.float()
    batch = [torch.cat(parts) for parts in zip(*case.batches(16), strict=True)]
    batch = (batch[0].float(), model(batch[0].float()).argmax(1))
    model[-1].weight.data.mul_(30)
    found, exact = (Objective(model, nn.CrossEntropyLoss(), [batch], dtype=dtype) for dtype in (None, torch.float64))
    for metric in ("loss", "gradient_norm"):
        measured, true = (getattr(measure, metric)(objective) for objective in (found, exact))
        off = abs(measured.value - true.value)
        assert off <= measured.std_error or off < 2e-5 * true.value
        assert measured.std_error <= 2.01 * off


def test_all_examples_are_compared_where_a_few_differ():
    """Outputs of the last of 33 alone are large, and rounded."""
    model = nn.Linear(3, 3, bias=False).bfloat16()
    model.weight.data.copy_(torch.randn(3, 3, generator=seeded(3)))
    x, y = torch.randn(33, 3, generator=seeded(0)).bfloat16(), torch.randint(3, (33,), generator=seeded(1))
    x[-1] *= 512
    y[-1] = model(x[-1:]).argmin()  # so that their difference is its loss
    found = rounding_of(Objective(model, nn.CrossEntropyLoss(), [(x, y)]))
    few = rounding_of(Objective(model, nn.CrossEntropyLoss(), [(x[:-1], y[:-1])]))
    assert found.loss > 10 * few.loss > 0


@pytest.mark.parametrize(("dtype", "eps"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_it_is_about_the_eps_of_the_dtype(dtype, eps):
    found = rounding_of(objective_of(make("mlp_tanh"), 16, dtype=dtype))
    assert 0 < found.loss < 20 * eps
    assert all(eps / 20 < one < 20 * eps for one in (found.gradient, found.product))


def test_curvature_that_rounding_dominates_is_not_converged():
    """Second differences of nothing: outputs of 300, of which bfloat16 keeps units, and gradients of 1e-3."""
    model = nn.Linear(4, 3).bfloat16()
    offset = torch.tensor([300.0, 300.5, 299.0])
    loss = lambda m, b: F.cross_entropy((m(b[0]) + offset.bfloat16()).float(), b[1], reduction="none")  # noqa: E731
    x, y = torch.randn(20, 4, generator=seeded(0)).bfloat16(), torch.randint(3, (20,), generator=seeded(1))
    objective = Objective(model, loss, [(x, y)])
    exact = Objective(model, lambda m, b: loss_of(m, b, offset), [(x.double(), y)], dtype=torch.float64)
    for metric in ("loss", "gradient_norm", "trace", "lambda_max"):
        measured, true = (getattr(measure, metric)(one) for one in (objective, exact))
        low, high = measured.interval()
        assert not measured.converged or low <= true.value <= high


def loss_of(model, batch, offset):
    return F.cross_entropy(model(batch[0]) + offset.bfloat16().to(batch[0]), batch[1], reduction="none")


def test_where_it_cannot_be_known_nothing_is_converged():
    class Only(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            if x.dtype == torch.bfloat16:
                return x.clone()
            raise RuntimeError("bfloat16 only")

        @staticmethod
        def backward(_, grad):
            return grad

    model = nn.Sequential(nn.Linear(3, 3).bfloat16())
    x, y = torch.randn(9, 3, generator=seeded(0)).bfloat16(), torch.randint(3, (9,), generator=seeded(1))
    objective = Objective(model, lambda m, b: F.cross_entropy(Only.apply(m(b[0])), b[1], reduction="none"), [(x, y)])
    for metric in (measure.loss, measure.gradient_norm, measure.lambda_max):
        measured = metric(objective)
        assert not measured.converged
        assert measured.half_width() == math.inf
        assert "unknown error by rounding" in measured.reason


def test_of_a_model_without_second_derivatives_losses_and_gradients_are_compared():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    model = nn.Linear(3, 3).bfloat16()
    x, y = torch.randn(9, 3, generator=seeded(0)).bfloat16(), torch.randint(3, (9,), generator=seeded(1))
    objective = Objective(model, lambda m, b: F.cross_entropy(Once.apply(m(b[0])), b[1], reduction="none"), [(x, y)])
    found = rounding_of(objective)
    assert found.loss > 0
    assert found.gradient > 0
    assert found.product > 0
    assert not found.unknown


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_found_once_and_on_few_examples(dtype):
    rows = []
    case = make("mlp_tanh")

    def loss(model, batch):
        rows.append(len(batch[0]))
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    objective = Objective(case.model, loss, case.batches(32), dtype=dtype)
    rows.clear()
    work = Work.of(objective)
    first, num_passes = work.rounding, len(rows)
    assert work.rounding is first
    assert len(rows) == num_passes <= 16
    assert max(rows) <= 8


def test_nothing_is_left_in_the_model():
    case = make("mlp_tanh")
    objective = objective_of(case, 16, dtype=torch.bfloat16)
    before = {name: (p.clone(), p.dtype) for name, p in case.model.state_dict().items()}
    rounding_of(objective)
    after = case.model.state_dict()
    assert all(after[name].dtype == dtype and torch.equal(after[name], p) for name, (p, dtype) in before.items())
    assert all(p.grad is None for p in case.model.parameters())


@pytest.mark.parametrize("kind", ["none", "standard error", "bound", "lower bound"])
def test_an_error_by_rounding_is_added(kind):
    before = Measurement("x", 1.0, 0.0 if kind == "none" else 0.03, error_kind=kind, num_samples=0)
    assert rounded(before, 0.0) is before
    after = rounded(before, 0.04, rel_error=0.5)
    expected = {"none": 0.04, "standard error": 0.05, "bound": 0.07, "lower bound": 0.07}[kind]
    assert after.std_error == pytest.approx(expected)
    assert after.value == 1.0
    assert after.error_kind == ("bound" if kind == "none" else kind)
    assert after.converged
    assert not rounded(before, 0.04, rel_error=0.01).converged
    assert not rounded(replace(before, converged=False), 0.04, rel_error=0.5).converged


def test_widened_keeps_what_is_no_rounding():
    x, y = torch.tensor([1 / 3, 2 / 3, 7.0], dtype=torch.float64), torch.zeros(3)
    with widened(torch.float64):
        assert torch.equal(x.half().float().double(), x)
        assert torch.equal(torch.stack([x.bfloat16(), x]), torch.stack([x, x]))
        assert x.to(torch.int8).tolist() == [0, 0, 7]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = F.linear(x[None], x[None])
        y += x  # in place: it stays what it is
    assert torch.equal(product, x[None] @ x[:, None])
    assert y.dtype == torch.float32
    assert x.half().float().double()[0] != x[0]


def test_what_frozen_parts_round_is_seen():
    torch.manual_seed(0)

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 3)).requires_grad_(False)
            self.head, self.coarse = nn.Linear(3, 3), True

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.coarse):
                features = self.frozen(x)
            return self.head(features.float())

    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(3, 3).bfloat16().requires_grad_(False)
            self.down, self.up = nn.Parameter(torch.randn(3, 1)), nn.Parameter(torch.randn(1, 3))

        def forward(self, x):
            return self.base(x.bfloat16()).float() + x @ self.down @ self.up

    batch = torch.randn(40, 3, generator=seeded(0)), torch.arange(40) % 3
    model = Probe()
    found = Objective(model, nn.CrossEntropyLoss(), [batch])
    measured = {metric: getattr(measure, metric)(found) for metric in ("loss", "gradient_norm", "trace")}
    model.coarse = False
    exact = Objective(model, nn.CrossEntropyLoss(), [batch])
    for metric, one in measured.items():
        low, high = one.interval()
        assert low < getattr(measure, metric)(exact).value < high
        assert one.std_error > 0
    adapted = Objective(Adapted(), nn.CrossEntropyLoss(), [batch])
    assert all(getattr(measure, metric)(adapted).converged for metric in measured)


def test_rounding_that_cannot_be_left_out_is_unknown():
    def kernel(model, batch):
        h = model(batch[0]).bfloat16()
        if h.dtype != torch.bfloat16:
            raise RuntimeError("bfloat16 only")
        return F.cross_entropy(h.float(), batch[1], reduction="none")

    batch = torch.randn(40, 3, generator=seeded(0)), torch.arange(40) % 3
    assert not measure.loss(Objective(nn.Linear(3, 3), kernel, [batch])).converged

"""Differences of gradients: right where they can be, and never a wrong number without an error."""

import pytest
import torch
from torch import nn

from landscape import Hessian, Objective
from landscape.measure.cost import estimate_cost
from landscape.objective import MeasurementError
from landscape.operators import FiniteDifferenceHessian, InaccurateProductError, SecondDerivativeError
from tests.cases import CASES, make, oracle, relative_error
from tests.test_objective import objective_of


@pytest.mark.parametrize("name", CASES)
def test_in_float64_it_is_the_dense_hessian_and_knows_its_error(name):
    H = FiniteDifferenceHessian(objective_of(make(name), 16))
    V = torch.randn(H.shape[0], 2, dtype=H.dtype, generator=torch.Generator().manual_seed(0))
    error = relative_error(H @ V, oracle(name) @ V)
    assert error < 1e-5
    assert error < 10 * H.estimated_error
    assert H.num_matvecs == 2


def test_four_gradients_a_product():
    objective = objective_of(make("mlp_tanh"), 16)
    H = FiniteDifferenceHessian(objective)
    before = objective.num_gradients
    H @ torch.ones(H.shape[0], 3, dtype=H.dtype)
    assert objective.num_gradients - before == 12


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_it_does_not_depend_on_the_scale_of_the_loss_or_of_the_vector(scale):
    case = make("mlp_tanh")
    v = torch.ones(sum(p.numel() for p in case.model.parameters()), dtype=torch.float64)
    scaled = Objective(
        case.model,
        lambda model, batch: scale * nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none"),
        case.batches(),
    )
    expected = oracle("mlp_tanh") @ v
    assert relative_error(FiniteDifferenceHessian(scaled) @ v / scale, expected) < 1e-6
    assert relative_error(FiniteDifferenceHessian(objective_of(case)) @ (scale * v) / scale, expected) < 1e-6


def test_the_kinks_of_relu_in_float32_are_refused_and_not_returned():
    """Steps that cross kinks agree with half of themselves and are wrong: only a much smaller step shows it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    objective = Objective(model, nn.CrossEntropyLoss(), [(torch.randn(500, 20), torch.randint(10, (500,)))])
    H = FiniteDifferenceHessian(objective)
    v = torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0))
    with pytest.raises(InaccurateProductError, match="float64"):
        H @ v
    double = Objective(model, nn.CrossEntropyLoss(), objective.data, dtype=torch.float64)
    assert relative_error(FiniteDifferenceHessian(double) @ v, Hessian(double) @ v) < 1e-5


def test_zero_vector_and_zero_weights():
    model = nn.Linear(2, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    H = FiniteDifferenceHessian(Objective(model, nn.MSELoss(), [(torch.eye(2).double(), torch.ones(2, 1).double())]))
    assert (H @ torch.zeros(3)).norm() == 0
    assert (H @ torch.tensor([1.0, 0.0, 0.0])).tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-6)


def test_hessian_by_this_engine_by_name():
    H = Hessian(objective_of(make("mlp_tanh"), 16), engine="finite-difference")
    v = torch.ones(H.shape[0], dtype=H.dtype)
    assert relative_error(H @ v, oracle("mlp_tanh") @ v) < 1e-6
    assert "finite difference" in H.engine


def deep_relu(forward=nn.Sequential.forward):
    """A network whose products by differences in float32 cross kinks, and its objective."""
    torch.manual_seed(0)
    layers = (nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    model = type("Deep", (nn.Sequential,), {"forward": forward})(*layers)
    return model, Objective(model, nn.CrossEntropyLoss(), [(torch.randn(500, 20), torch.randint(10, (500,)))])


def once_differentiable(self, x):
    """As it is, through what has no second derivative."""
    return Once.apply(nn.Sequential.forward(self, x))


class Once(torch.autograd.Function):
    """The identity, differentiable once."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_, grad):
        return grad.clone()


@pytest.mark.parametrize(
    ("forward", "engine"), [(once_differentiable, "auto"), (nn.Sequential.forward, "finite-difference")]
)
def test_where_float32_is_inaccurate_float64_is_taken_and_follows_edits(forward, engine):
    model, objective = deep_relu(forward)
    H = Hessian(objective, engine=engine)
    v = torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        product = H @ v
        assert product.dtype == H.dtype == torch.float32
        plain = Objective(nn.Sequential(*model), nn.CrossEntropyLoss(), objective.data, dtype=torch.float64)
        assert relative_error(product, Hessian(plain, engine="exact") @ v.double()) < 1e-5
        assert H.engine.endswith("in float64")
        with torch.no_grad():
            model[2].weight.mul_(0.5)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_model_that_takes_no_float64_is_refused_as_before():
    _, objective = deep_relu(lambda self, x: nn.Sequential.forward(self, x.float()))
    H = Hessian(objective, engine="finite-difference")
    with pytest.raises(InaccurateProductError, match="estimated error"):
        H @ torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0))


def test_a_vector_of_the_null_space_is_as_accurate_as_the_others():
    """Its product is nothing but rounding, which is small beside those of other vectors."""
    model = nn.Linear(3, 1, bias=False).double()
    x = torch.tensor([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    H = FiniteDifferenceHessian(Objective(model, nn.MSELoss(), [(x, torch.zeros(2, 1).double())]))
    product = H @ torch.tensor([1.0, 1.0, 0.0]).double()
    nothing = H @ torch.tensor([1e-9, 0.0, 1.0]).double()
    assert product.norm() > 10
    assert nothing.norm() < 1e-6
    assert H.estimated_error < 1e-6


def refusing(error):
    """A tanh whose backward raises where it is to be differentiated."""

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.tanh())
            return x.tanh()

        @staticmethod
        def backward(ctx, grad):
            if torch.is_grad_enabled():
                raise error
            return grad * (1 - ctx.saved_tensors[0] ** 2)

    return Tanh.apply


class DeepTanh(torch.autograd.Function):
    """A tanh whose backward's backward is broken."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        return Slope.apply(grad, *ctx.saved_tensors)


class Slope(torch.autograd.Function):
    @staticmethod
    def forward(_, grad, x):
        return grad * (1 - x.tanh() ** 2)

    @staticmethod
    def backward(_, *__):
        raise KeyError("not written")


def under_no_mode(x):
    """A tanh that cannot be called where functions are replaced, as twice differentiable passes do."""
    if torch.is_grad_enabled() and torch._C._is_torch_function_mode_enabled():
        raise RuntimeError("called under a mode")
    return x.tanh()


@pytest.mark.parametrize(
    "tanh",
    [refusing(TypeError("no")), refusing(AssertionError()), DeepTanh.apply, under_no_mode],
    ids=["TypeError", "AssertionError", "KeyError, deep", "under no mode"],
)
def test_auto_falls_back_wherever_no_graph_can_be_built(tanh):
    torch.manual_seed(0)
    layers = [nn.Linear(3, 4).double(), nn.Linear(4, 2).double()]
    batch = (torch.randn(6, 3).double(), torch.arange(6) % 2)

    def objective(act):
        model = Wrapped(layers, act)
        return Objective(model, nn.CrossEntropyLoss(), [batch])

    H, v = Hessian(objective(tanh)), torch.ones(26, dtype=torch.float64)
    assert relative_error(H @ v, Hessian(objective(torch.tanh), engine="exact") @ v) < 1e-6
    assert H.engine.startswith("finite differences")
    assert estimate_cost(objective(tanh), ["lambda_max"])["engine"] == H.engine
    with pytest.raises(
        (SecondDerivativeError, MeasurementError), match=r"No (graph|second derivative|gradient)"
    ) as told:
        Hessian(objective(tanh), engine="exact") @ v
    assert "\n" not in str(told.value)


class Wrapped(nn.Module):
    def __init__(self, layers, act):
        super().__init__()
        self.layers, self.act = nn.ModuleList(layers), act

    def forward(self, x):
        return self.layers[1](self.act(self.layers[0](x)))

"""Every metric against the dense oracle and closed forms; and what must hold for all of them alike."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Objective, analyze
from landscape.measure import METRICS, gradient_norm, lambda_max, loss, normalized_trace, trace
from landscape.results import Measurement
from tests.cases import CASES, dense_gradient, make, oracle
from tests.test_objective import BATCHINGS, edit_weights, objective_of

NUMBERS = ["loss", "gradient_norm", "trace", "lambda_max", "normalized_trace"]


def numbers(objective, **arguments):
    return {name: m.value for name, m in analyze(objective, NUMBERS, **arguments)["train"].items()}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_norm(name):
    case = make(name)
    objective = objective_of(case, 16)
    per_example = torch.stack([case.criterion(case.model(x[None]), y[None]) for x, y in zip(*case.data, strict=True)])
    measured = loss(objective)
    assert measured.value == pytest.approx(per_example.mean().item(), rel=1e-12)
    assert measured.std_error == 0
    expected = per_example.std().item() / len(per_example) ** 0.5
    assert measured.details["data_std_error"] == pytest.approx(expected, rel=1e-9)
    norm = dense_gradient(case.model, case.criterion, case.data).norm().item()
    assert gradient_norm(objective).value == pytest.approx(norm, rel=1e-12)
    assert gradient_norm(objective).num_gradients == 1


def test_measurements_are_frozen_and_timed():
    measured = lambda_max(objective_of(make("mlp_tanh"), 16))
    assert measured.name == "lambda_max"
    assert measured.seconds > 0
    assert measured.reason
    with pytest.raises(dataclasses.FrozenInstanceError):
        measured.value = 0.0


LONG = ("average_sharpness", "local_minima")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in METRICS])
def test_every_metric_says_what_it_is(name):
    measured = METRICS[name](objective_of(make("mlp_tanh"), 16))
    assert measured.name == name
    assert isinstance(measured.value, float)
    assert measured.reason


# --- invariances -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("size", "microbatch"), BATCHINGS)
@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm", "attention"])
def test_batching_changes_nothing(name, size, microbatch):
    case = make(name)
    reference = numbers(objective_of(case), num_probes=4, rel_error=0.01)
    assert numbers(objective_of(case, size, microbatch=microbatch), num_probes=4, rel_error=0.01) == pytest.approx(
        reference, rel=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-7, 1e7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scaled_loss_gives_scaled_numbers(dtype, scale):
    case = make("mlp_tanh")
    case.model.to(dtype)
    batches = [(x.to(dtype), y) for x, y in case.batches(16)]

    def scaled_loss(model, batch):
        return scale * cross_entropy(model(batch[0]), batch[1], reduction="none")

    plain = analyze(Objective(case.model, case.criterion, batches), NUMBERS, rel_error=0.1)["train"]
    scaled = analyze(Objective(case.model, scaled_loss, batches), NUMBERS, rel_error=0.1)["train"]
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    for name in NUMBERS:
        unit = 1 if name == "normalized_trace" else scale  # trace over gradient norm: the scale cancels
        assert scaled[name].value / unit == pytest.approx(plain[name].value, rel=tolerance)
        assert scaled[name].std_error / unit == pytest.approx(plain[name].std_error, rel=10 * tolerance)
        assert scaled[name].converged == plain[name].converged
        assert scaled[name].num_matvecs == plain[name].num_matvecs


def test_a_second_measurement_of_the_same_model_is_the_same():
    case = make("conv_batchnorm")
    first = numbers(objective_of(case, 16), num_probes=6)
    case.model(case.inputs)  # a forward and a backward of the user's in between
    case.criterion(case.model(case.inputs), case.targets).backward()
    objective = objective_of(case, 16)
    assert numbers(objective, num_probes=6) == first
    assert numbers(objective, num_probes=6) == first


def test_order_and_company_change_nothing():
    case = make("attention")
    together = numbers(objective_of(case, 16), num_probes=6)
    for name in reversed(NUMBERS):
        alone = analyze(objective_of(case, 16), [name], num_probes=6)["train"][name].value
        assert alone == pytest.approx(together[name], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["p.data.add_", "p.add_", "load_state_dict", "assign", "running_mean"])
def test_edits_of_the_weights_are_measured(edit):
    case = make("conv_batchnorm")
    objective = objective_of(case, 16)
    before = numbers(objective, num_probes=6)
    edit_weights(case.model, edit)
    after = numbers(objective, num_probes=6)
    assert after == pytest.approx(numbers(objective_of(case, 16), num_probes=6), rel=1e-12)
    assert all(abs(after[name] / before[name] - 1) > 1e-3 for name in NUMBERS)


def test_the_seed_changes_the_probes_and_nothing_else():
    objective = objective_of(make("mlp_tanh"), 16)
    first, other = numbers(objective, num_probes=6, seed=1), numbers(objective, num_probes=6, seed=2)
    assert first["trace"] != other["trace"]
    assert first["loss"] == other["loss"]


SCRIPT = """
import json, sys
from tests.measure.test_metrics import numbers
from tests.test_objective import objective_of, make
json.dump([{k: v.hex() for k, v in numbers(objective_of(make(name), 16), rel_error=0.1, seed=5).items()}
           for name in ("mlp_tanh", "conv_batchnorm")], sys.stdout)
"""


def test_another_process_with_the_same_seed_gives_identical_values():
    environment = os.environ | {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name, theirs in zip(("mlp_tanh", "conv_batchnorm"), json.loads(run.stdout), strict=True):
        ours = {k: v.hex() for k, v in numbers(objective_of(make(name), 16), rel_error=0.1, seed=5).items()}
        assert theirs == ours


# --- the trace -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_trace_is_within_its_own_interval(name):
    objective, truth = objective_of(make(name), 16), oracle(name).trace().item()
    measured = [trace(objective, num_probes=40, seed=seed) for seed in range(10)]
    t_99 = 2.708  # Student's t, 39 degrees of freedom
    assert sum(abs(m.value - truth) <= t_99 * m.std_error for m in measured) >= 9
    assert {m.num_matvecs for m in measured} == {40}
    assert all(m.std_error < 0.5 * oracle(name).norm() for m in measured), "an interval that covers because it is wide"


def test_trace_of_orthogonal_least_squares_is_exact():
    x = torch.diag(torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64))
    objective = Objective(nn.Linear(4, 1, bias=False).double(), nn.MSELoss(), [(x[:3], x[:3, :1]), (x[3:], x[3:, :1])])
    measured = trace(objective)
    assert measured.value == pytest.approx(2 / 4 * 39, rel=1e-12)
    assert measured.std_error < 1e-12
    assert measured.converged


def test_trace_reaches_the_accuracy_asked():
    measured = trace(objective_of(make("mlp_tanh")), rel_error=0.05, max_matvecs=5000)
    assert measured.converged
    assert measured.value == pytest.approx(oracle("mlp_tanh").trace().item(), rel=0.075)


@pytest.mark.parametrize("function", [trace, normalized_trace, lambda_max])
def test_too_small_a_budget_is_not_converged_and_says_why(function):
    measured = function(objective_of(make("attention"), 16), rel_error=1e-6, max_matvecs=7)
    assert not measured.converged
    assert "7" in measured.reason
    assert measured.num_matvecs == 7
    assert measured.std_error > 1e-6 * abs(measured.value)


@pytest.mark.parametrize("function", [trace, normalized_trace, lambda_max])
@pytest.mark.parametrize("arguments", [{"rel_error": 0.0}, {"rel_error": -1.0}, {"max_matvecs": 0}])
def test_impossible_requests_are_refused(function, arguments):
    with pytest.raises(ValueError, match=r"rel_error|probes|max_matvecs"):
        function(objective_of(make("mlp_tanh")), **arguments)


@pytest.mark.parametrize(("function", "known"), [(trace, "hutchinson"), (lambda_max, "lanczos.*power")])
def test_an_unknown_method_is_refused_with_the_known_ones(function, known):
    with pytest.raises(ValueError, match=f"magic.*{known}"):
        function(objective_of(make("mlp_tanh")), method="magic")


# --- the largest eigenvalue ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_lambda_max_to_a_millionth(name):
    truth = torch.linalg.eigvalsh(oracle(name))[-1].item()
    measured = lambda_max(objective_of(make(name), 16), rel_error=1e-7)
    assert measured.converged
    assert measured.value == pytest.approx(truth, rel=1e-6)
    assert measured.std_error <= 1e-7 * truth * (1 + 1e-9)
    assert abs(measured.value - truth) <= measured.std_error + 1e-12


@pytest.mark.parametrize("method", ["lanczos", "power"])
@pytest.mark.parametrize("name", CASES)
def test_lambda_max_by_every_method(name, method):
    measured = lambda_max(objective_of(make(name)), method=method, rel_error=1e-3, max_matvecs=3000)
    assert measured.converged
    assert measured.value == pytest.approx(torch.linalg.eigvalsh(oracle(name))[-1].item(), rel=1e-3)


@pytest.mark.parametrize("method", ["lanczos", "power"])
def test_lambda_max_is_the_largest_algebraic_one(method):
    signs = torch.tensor([-100.0, 10.0, 1.0], dtype=torch.float64)

    def saddle(model, batch):  # the Hessian of its mean is diag(signs)
        return 1.5 * signs[batch.argmax(1)] * model(batch)[:, 0] ** 2

    objective = Objective(nn.Linear(3, 1, bias=False).double(), saddle, [torch.eye(3).double()])
    measured = lambda_max(objective, method=method, rel_error=1e-5)
    assert measured.converged
    assert measured.value == pytest.approx(10, rel=1e-5)


def test_lambda_max_of_least_squares_and_softmax_regression():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, dtype=torch.float64, generator=generator), torch.arange(40) % 3
    linear = Objective(nn.Linear(5, 1, bias=False).double(), nn.MSELoss(), [(x, x[:, :1])])
    expected = torch.linalg.eigvalsh(2 / 40 * x.T @ x)[-1].item()
    assert lambda_max(linear, rel_error=1e-9).value == pytest.approx(expected, rel=1e-8)
    model = nn.Linear(5, 3, bias=False).double()
    p = (x @ model.weight.detach().T).softmax(1)
    blocks = [torch.kron(q.diag() - torch.outer(q, q), torch.outer(v, v)) for q, v in zip(p, x, strict=True)]
    expected = torch.linalg.eigvalsh(torch.stack(blocks).mean(0))[-1].item()
    found = lambda_max(Objective(model, nn.CrossEntropyLoss(), [(x, y)]), rel_error=1e-9)
    assert found.value == pytest.approx(expected, rel=1e-8)


# --- the normalized trace --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_normalized_trace_is_trace_over_gradient_norm_and_so_is_its_error(name):
    case = make(name)
    objective = objective_of(case, 16)
    norm = dense_gradient(case.model, case.criterion, case.data).norm().item()
    tr, measured = trace(objective, num_probes=10, seed=3), normalized_trace(objective, num_probes=10, seed=3)
    assert measured.value == pytest.approx(tr.value / norm, rel=1e-12)
    assert measured.std_error == pytest.approx(tr.std_error / norm, rel=1e-12)
    assert measured.converged == tr.converged
    truth = oracle(name).trace().item() / norm
    assert abs(measured.value - truth) < 5 * measured.std_error


def test_normalized_trace_at_a_critical_point_is_not_a_number_and_says_so():
    model = nn.Linear(2, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    objective = Objective(model, nn.MSELoss(), [(torch.ones(3, 2).double(), torch.zeros(3, 1).double())])
    measured = normalized_trace(objective)
    assert not measured.converged
    assert "gradient" in measured.reason
    assert not torch.isfinite(torch.tensor(measured.value))


class Backward(torch.autograd.Function):
    """The identity, whose gradient is another number, or none."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.factor * grad, None


@pytest.mark.parametrize("method", ["exact", "sampled"])
@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_normalized_trace_without_a_gradient_says_what_failed(monkeypatch, factor, method):
    def forward(self, x):
        return Backward.apply(nn.Linear.forward(self, x), factor)

    model = type("Wrong", (nn.Linear,), {"forward": forward})(2, 1).double()
    objective = Objective(model, nn.MSELoss(), [(torch.ones(3, 2).double(), torch.zeros(3, 1).double())])
    if method == "exact":
        found = Measurement("trace", 2.5, num_gradients=1)
        monkeypatch.setitem(normalized_trace.__wrapped__.__globals__, "trace", lambda *_, **__: found)
    measured, failed = normalized_trace(objective), {"exact": gradient_norm, "sampled": trace}[method](objective)
    assert math.isnan(measured.value)
    assert math.isnan(measured.std_error)
    assert not measured.converged
    assert measured.reason == failed.reason
    assert not failed.converged
    assert measured.half_width() == math.inf


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/landscape", "analyze", "my runs/last.pt", "--params", "*.weight"])
    found = analyze(objective_of(make("mlp_tanh")), metrics=("loss",))
    assert found.provenance["command"] == "landscape analyze 'my runs/last.pt' --params '*.weight'"

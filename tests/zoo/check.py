"""Whether everything that is measured of a case is true: within its error, said to be not converged, or refused.

problems(case)  ->  [] or ["trace: 1.79 ± 0 reported, 6.89 ± 1e-06 by differences", ...]
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin

from landscape import Hessian, Objective, measure
from landscape.objective import MeasurementError
from landscape.operators import SecondDerivativeError
from landscape.results import Measurement
from tests.zoo.case import Built, Case
from tests.zoo.oracle import SEEDS, Oracle, mean_loss, oracle, set_mode

REFUSALS = (ValueError, MeasurementError, SecondDerivativeError)
_WIDTHS = 3  # a 95 % interval may miss: by more half-widths than these it is wrong
_REL_ERROR = 0.01
_SEED_STEP = 1000


def problems(case: Case) -> list[str]:
    """What is wrong with what is reported, in words; refusals are none, but those without a message are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in range(SEEDS):
            seed = case.seed + _SEED_STEP * attempt
            used = case.build(seed)
            before = _state(used.model)
            found, reports = _measured(case, used)
            if not reports:
                return found
            truth = oracle(case, seed)
            if truth is None:
                return [*found, "the loss is random, and that was not refused"]
            if truth.agrees:
                return [*found, *_compared(case, truth, reports), *_traces_left(case, seed, used, before)]
    return [f"oracle: no seed without a kink, error {truth.hessian_error:.1e}"]


def _measured(case: Case, built: Built) -> tuple[list[str], dict[str, Any]]:
    """What goes wrong while measuring, and what is reported."""
    found: list[str] = []
    reports: dict[str, Any] = {}
    model, loss, batches = built

    def attempt(name: str, work: Callable[[], Any]) -> None:
        try:
            reports[name] = work()
        except REFUSALS as error:
            if len(str(error)) <= 20:
                found.append(f"{name}: refused without a reason: {type(error).__name__}: {error}")
        except Exception as error:
            found.append(f"{name}: crash: {type(error).__name__}: {str(error)[:160]!r}")

    with case.context():
        attempt("objective", lambda: Objective(model, loss, batches, **case.options))
        objective = reports.pop("objective", None)
        if objective is None:
            return found, {}
        if case.edit:
            objective.value()
            case.edit(model, loss, batches)
        attempt("loss", lambda: measure.loss(objective))
        attempt("gradient", objective.gradient)
        for i in range(2):
            attempt(f"product {i}", lambda i=i: _product(objective, i))
        attempt("trace", lambda: measure.trace(objective, rel_error=_REL_ERROR))
        attempt("lambda_max", lambda: measure.lambda_max(objective, rel_error=_REL_ERROR))
        attempt("lambda_min", lambda: measure.lambda_min(objective, rel_error=_REL_ERROR))
        attempt("layer_table", lambda: measure.layer_table(objective, rel_error=_REL_ERROR))
    return found, reports


def _product(objective: Objective, seed: int) -> tuple[Tensor, Tensor, str]:
    v = torch.randn(objective.num_params, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    H = Hessian(objective)
    return v, H @ v.to(objective.dtype), H.engine


def _compared(case: Case, truth: Oracle, reports: dict[str, Any]) -> Iterator[str]:
    if not np.isfinite(truth.value):
        settled = [name for name, report in reports.items() if getattr(report, "converged", True)]
        yield from (f"{name}: reported of a loss that is {truth.value}" for name in settled)
        return
    H, d = truth.hessian, len(truth.hessian)
    values = np.linalg.eigvalsh(H)
    size = float(np.abs(values).max(initial=0.0))
    rounding = 1e-6 if case.dtype in (torch.float64, None) else 1e-4
    vector_rounding = max(rounding, 8 * torch.finfo(case.rounds or case.dtype or torch.float64).eps)
    slack = rounding * size + truth.hessian_error
    if "loss" in reports:
        yield from _within("loss", reports["loss"], truth.value, rounding * (abs(truth.value) + 1e-9))
    if "gradient" in reports:
        allowed = vector_rounding * (np.linalg.norm(truth.gradient) + size) + truth.gradient_error
        yield from _near("gradient", reports["gradient"], truth.gradient, allowed)
    for i in range(2):
        if f"product {i}" in reports:
            v, product, engine = reports[f"product {i}"]
            allowed = vector_rounding * size * float(v.norm()) + truth.hessian_error * float(v.norm())
            allowed += 0.01 * float(product.norm()) if engine.startswith("finite") else 0.0
            yield from _near(f"product {i}", product, H @ v.numpy(), allowed)
    if "trace" in reports:
        yield from _within("trace", reports["trace"], np.trace(H), d * slack)
    if "lambda_max" in reports:
        yield from _within("lambda_max", reports["lambda_max"], values[-1], slack)
    if "lambda_min" in reports:
        yield from _within("lambda_min", reports["lambda_min"], values[0], slack)
    if "layer_table" in reports and reports["layer_table"].converged:
        yield from _table(reports["layer_table"], truth, slack, vector_rounding)


def _table(table: Measurement, truth: Oracle, slack: float, rounding: float) -> Iterator[str]:
    H, details = truth.hessian, table.details
    yield from _within("layer_table", table, np.trace(H), len(H) * slack)
    for row, layer in enumerate(details["layers"]):
        own = [i for i, name in enumerate(truth.names) if layer in (name, name.rpartition(".")[0])]
        below = [i for i, name in enumerate(truth.names) if name == layer or name.startswith(f"{layer}.")]
        checks = [list(_row(table, row, layer, truth, chosen, slack, rounding)) for chosen in (own, below)]
        if all(checks):
            yield from checks[0]


def _row(
    table: Measurement, row: int, layer: str, truth: Oracle, entries: list[int], slack: float, rounding: float
) -> Iterator[str]:
    block, details = truth.hessian[np.ix_(entries, entries)], table.details
    if len(entries) != details["num_params"][row]:
        yield f"{layer}: {details['num_params'][row]} parameters, not {len(entries)}"
    error = Measurement("", 0.0, float(details["trace_std_error"][row]), num_samples=details["num_probes"]).half_width()
    numbers = {
        "trace": (details["trace"][row], error, np.trace(block), len(block) * slack),
        "gradient_norm": (
            details["gradient_norm"][row],
            0.0,
            np.linalg.norm(truth.gradient[entries]),
            slack + truth.gradient_error + rounding * np.linalg.norm(truth.gradient),
        ),
        "lambda_max": (
            details["lambda_max"][row],
            details["lambda_max_error"][row],
            np.linalg.eigvalsh(block)[-1] if entries else 0.0,
            slack,
        ),
    }
    for what, (value, half, true, allowed) in numbers.items():
        if not abs(value - true) <= _WIDTHS * half + allowed:
            yield f"layer_table {layer} {what}: {value:.6g} ± {half:.1e} reported, {true:.6g} by differences"


def _within(name: str, found: Measurement, true: float, slack: float) -> Iterator[str]:
    low, high = found.interval()
    half = (high - low) / 2
    if found.converged and not abs(found.value - true) <= _WIDTHS * half + slack:
        yield f"{name}: {found.value:.6g} ± {half:.1e} reported, {true:.6g} ± {slack:.1e} by differences"


def _near(name: str, found: Tensor, true: np.ndarray, allowed: float) -> Iterator[str]:
    off = float(np.linalg.norm(found.double().numpy() - true)) if found.shape == true.shape else np.inf
    if not off <= allowed:
        yield f"{name}: off by {off:.3g} of {np.linalg.norm(true):.3g}, {allowed:.1e} allowed"


def _traces_left(case: Case, seed: int, used: Built, before: dict[str, Any]) -> Iterator[str]:
    """Whether the model is as if it had never been measured: its attributes, and what it makes of other weights."""
    after = _state(used.model)
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if not _same(old, new):
            yield f"trace left in {name}: {type(old).__name__} to {type(new).__name__}"
    fresh = case.build(seed)
    if case.edit:
        case.edit(*fresh)
    values = []
    for built in (fresh, used):
        with torch.no_grad():
            for p in built.model.parameters():
                p.mul_(1.125)
        set_mode(built.model, training=False)  # without a train() before it, which empties some caches
        with nullcontext() if case.grad else torch.no_grad():
            values.append(mean_loss(built, case.options.get("weight"), {}))
    if not np.isclose(*values, rtol=1e-6, equal_nan=True):
        yield f"trace left: loss {values[1]:.6g} at other weights, {values[0]:.6g} had it not been measured"


def _state(model: nn.Module) -> dict[str, Any]:
    """Every tensor, number and string that a module holds, and the gradients of its parameters."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        own = vars(module) | dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        for key, value in own.items():
            if isinstance(value, UninitializedTensorMixin):
                continue
            if isinstance(value, (Tensor, bool, int, float, str)):
                found[f"{path}.{key}"] = value.detach().clone() if isinstance(value, Tensor) else value
            if isinstance(value, nn.Parameter) and value.grad is not None:
                found[f"{path}.{key}.grad"] = value.grad.clone()
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.allclose(a.to(b.dtype), b, rtol=1e-5, equal_nan=True)
    return type(a) is type(b) and a == b


def _main() -> None:
    import sys
    import time

    from tests.zoo.test_zoo import CASES

    for name, case in CASES.items():
        if any(name.startswith(prefix) for prefix in sys.argv[1:] or [""]):
            start = time.process_time()
            found = problems(case)
            print(f"{'WRONG' if found else 'ok   '} {name} {time.process_time() - start:.2f}s", flush=True)
            for line in found:
                print("        ", line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _main()

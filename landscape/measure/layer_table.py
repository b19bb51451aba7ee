"""Curvature layer by layer: which part of the network the trace and the steepest direction belong to."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from landscape.linalg import Lanczos, lanczos_extreme
from landscape.linalg.diagonal import exact_diagonal
from landscape.linalg.entries import Entries
from landscape.linalg.estimate import norm_of, require_positive
from landscape.linalg.hutchinson import draw_probes
from landscape.measure.metric import PROBES, Cost, Work, generator, metric
from landscape.measure.rounding import rounded
from landscape.objective import Objective
from landscape.operators import Hessian, NoExactDiagonalError, Restricted
from landscape.params import matches
from landscape.results import Measurement
from landscape.statistics import half_width, interval_reason, looks

_KRYLOV_STEPS = 24  # taken out of the probes: with them 5 % takes tens of probes on trained networks, not hundreds
_FIRST_LOOK = 16


@metric(
    definition=(
        "trace, share, gradient norm and λmax of the Hessian's diagonal block of each layer; the value is the"
        " trace over them"
    ),
    meaning="Where in the network the curvature sits.",
    limits="Curvature between layers is left out: lambda_max of the whole is at least that of any layer.",
    cost="as trace, and 4 to 15 products a layer",
    error_kind="standard error",
    estimate_cost=lambda given: (
        Cost(products=(40, given.max_matvecs), gradients=1)
        if given.exact_passes is None
        else Cost(products=(4, given.max_matvecs), gradients=1 + given.exact_passes)
    ),
    details={
        "method": "of the traces",
        "num_probes": "behind trace_std_error; 0 if exact",
        "layers": "names, (layers,)",
        "num_params": "(layers,)",
        "trace": "of each layer's block",
        "trace_std_error": "its standard error, or up to 1.4 times that",
        "share": "of the value",
        "gradient_norm": "of each layer's part",
        "lambda_max": "of each layer's block",
        "lambda_max_error": "a bound",
    },
)
def layer_table(
    objective: Objective,
    *,
    layers: tuple[str, ...] | None = None,
    rel_error: float = 0.05,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Trace, its share, gradient norm and largest eigenvalue of the Hessian's diagonal block of each layer.

    All traces come from one pass: exact where the network is proved piecewise linear; elsewhere the part of H in a
    Krylov space of 24 steps is taken exactly, and the rest from the same random signs for every layer, z_l^T (R z)_l,
    or, where that would take d products, the whole diagonal.

    Args:
        objective: the loss around whose parameters to measure.
        layers: globs, one row each; by default every module that has parameters of its own.
        rel_error: accuracy of ``value`` and of each ``lambda_max``.
        max_matvecs: the budget of the probes, and of each eigenvalue.
        seed: of probes and start vectors.

    Raises:
        ValueError: for a glob that selects no parameter, or an accuracy or budget that is not positive.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> table = layer_table(Objective(model, torch.nn.MSELoss(), [batch]), layers=("weight", "bias"))
        >>> table.details["trace"].round(4), table.details["lambda_max"].round(4)
        (array([10.,  2.]), array([9., 2.]))
    """
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    layout = objective.layout
    chosen = dict(zip(layers, layers, strict=True)) if layers else _own_parameters(layout.names)
    names = tuple(chosen)
    rows = [layout.indices(params).to(objective.device) for params in chosen.values()]
    try:
        found = _exact(objective, tuple(chosen.values()))
    except NoExactDiagonalError:
        found = _estimated(objective, rows, rel_error, max_matvecs, seed)
    gradient = objective.gradient().double()
    H = Work.of(objective).hessian
    runs = [Lanczos(Restricted(H, params), generator=generator(seed)) for params in chosen.values()]
    largest = [lanczos_extreme(run, rel_error=rel_error, max_matvecs=max_matvecs) for run in runs]
    unsettled = [name for name, e in zip(names, largest, strict=True) if not e.converged]
    if H.rounding:
        found = _rounded(found, H.rounding, runs, rel_error)
    traces, total = found.details["trace"], found.value
    return replace(
        found,
        num_matvecs=found.num_matvecs + sum(e.num_matvecs for e in largest),
        num_gradients=1 + found.num_gradients,
        converged=found.converged and not unsettled,
        reason=found.reason + (f"; lambda_max not to {rel_error:g} in {', '.join(unsettled[:3])}" if unsettled else ""),
        details={
            "method": "deflated" if found.num_samples else "exact",
            "num_probes": found.num_samples,
            "layers": np.array(names),
            "num_params": np.array([len(indices) for indices in rows]),
            **found.details,
            "share": traces / total if total else np.full(len(rows), np.nan),
            "gradient_norm": np.array([gradient[indices].norm().item() for indices in rows]),
            "lambda_max": np.array([e.value for e in largest]),
            "lambda_max_error": np.array([e.error for e in largest]),
        },
    )


def _rounded(found: Measurement, rounding: float, runs: Sequence[Lanczos], rel_error: float) -> Measurement:
    """With the rounding of the model's dtype in the errors, relative to the norm of each block, or its trace."""
    norms = [norm_of(run.first(len(run)).matrix().flatten()) for run in runs]
    sizes = np.maximum(np.abs(found.details["trace"]), norms)
    errors = np.hypot(found.details["trace_std_error"], rounding * sizes)
    size = max(abs(found.value), float(np.linalg.norm(sizes)))
    found = rounded(found, rounding * size, rel_error=rel_error)
    return replace(found, details=found.details | {"trace_std_error": errors})


def _own_parameters(names: Sequence[str]) -> dict[str, Collection[str]]:
    """By module, the names of its own parameters, without those of the modules in it."""
    own: dict[str, list[str]] = {}
    for name in names:
        own.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return dict(own)


def _exact(objective: Objective, layers: Sequence[str | Collection[str]]) -> Measurement:
    """The traces alone, as ``_estimated`` gives them too."""
    found, num_passes = Work.of(objective).exact_traces
    by_name = dict(zip(objective.names, found.tolist(), strict=True))
    traces = np.array([math.fsum(by_name[name] for name in by_name if matches(name, params)) for params in layers])
    reason = "exact: the network is piecewise linear in each parameter"
    details = {"trace": traces, "trace_std_error": np.zeros(len(layers))}
    total = float(traces.sum())
    return Measurement("layer_table", total, num_gradients=num_passes, reason=reason, details=details)


def _whole(H: Hessian, rows: Sequence[Tensor], num_matvecs: int) -> Measurement:
    """By d products the traces are exact, where probes would take as many."""
    diagonal, _ = exact_diagonal(H)
    traces = np.array([diagonal[indices].sum().item() for indices in rows])
    reason = f"exact: the whole diagonal of H, by {len(diagonal)} products"
    details = {"trace": traces, "trace_std_error": np.zeros(len(rows))}
    return Measurement("layer_table", float(traces.sum()), num_matvecs=num_matvecs, reason=reason, details=details)


def _estimated(
    objective: Objective, rows: Sequence[Tensor], rel_error: float, max_matvecs: int, seed: int
) -> Measurement:
    """tr(P_l H) = tr(P_l Q Q^T H) + E[z^T P_l (I - Q Q^T) H z], Q from the Krylov run that the spectrum uses."""
    work, draws = Work.of(objective), generator(seed + PROBES)
    H, run, d = work.hessian, work.krylov(seed), objective.num_params
    steps = min(_KRYLOV_STEPS, d - 1, max(1, max_matvecs // 2))
    T = run.first(steps + 1)
    basis = run.first_vectors(steps + 1)
    Q, next_q = basis[:, :steps], basis[:, steps]
    HQ = Q @ T.matrix()[:steps, :steps].to(Q)
    if steps:  # none of a single parameter
        HQ[:, -1] += T.betas[steps - 1] * next_q
    within = (Q.double() * HQ.double()).sum(1)
    base = torch.stack([within[indices].sum() for indices in rows]).cpu()
    entries, rows_with = Entries(H), torch.zeros_like(within)  # globs may overlap
    for indices in rows:
        rows_with[indices] += 1
    needed = 0.0
    for look in looks(_FIRST_LOOK, max(2, max_matvecs - steps - 1)):
        if max(look, needed) >= d <= max_matvecs - steps - 1 - entries.count:
            return _whole(H, rows, num_matvecs=steps + 1 + entries.count + d)
        probes = draw_probes(H, look - entries.count, draws, "rademacher")
        products = H @ probes
        entries.add(probes, products - Q @ (Q.T @ products))
        total = float(base.sum()) + sum(entries.mean[indices].sum().item() for indices in rows)
        error = math.sqrt(2 / look) * (rows_with * entries.deviations).norm().item()
        half = half_width(error, look)
        if converged := half <= rel_error * abs(total):
            break
        needed = look * (half / (rel_error * abs(total))) ** 2 if total else math.inf
    traces = base.numpy() + [entries.mean[indices].sum().item() for indices in rows]
    errors = np.array([math.sqrt(2 / look) * entries.deviations[indices].norm().item() for indices in rows])
    return Measurement(
        "layer_table",
        float(traces.sum()),
        error,
        num_matvecs=steps + 1 + look,
        converged=converged,
        reason=f"{interval_reason(total, half, rel_error)} after {steps + 1 + look} products",
        details={"trace": traces, "trace_std_error": errors},
        error_kind="standard error",
        num_samples=look,
    )

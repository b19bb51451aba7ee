"""Rows a to d: the digits MLP, d = 6570, where every answer is known exactly."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from benchmarks import peers
from benchmarks.calibrate import Rung, cheapest, interval_95
from benchmarks.peers import CURVLINOPS, EIGENTHINGS, PYHESSIAN
from benchmarks.race import Contender, Found, Timing, race
from benchmarks.report import US, Bar, Row, ratio_bar
from benchmarks.subjects import Exact, Subject, digits_mlp
from landscape import measure
from landscape.measure.work import Work
from landscape.operators import gauss_newton_diagonal

subject = cache(digits_mlp)


@cache
def exact(activation: str) -> tuple[np.ndarray, float, float]:
    """Top 50 eigenvalues, trace, and standard deviation of one Rademacher sample of it, in float64."""
    reference = Exact(subject(activation))
    return reference.top(50), *reference.trace_and_deviation()


def top_50(quick: bool) -> Row:
    """Row a."""
    network = subject("relu")
    values, _, _ = exact("relu")

    def error(found: np.ndarray) -> float:
        return float(np.abs(found / values - 1).max()) if len(found) == 50 else math.inf

    def ours(rel_error: float, seed: int) -> Found:
        found = measure.top_eigenvalues(network.objective(), k=50, rel_error=rel_error, seed=seed)
        return Found(found.details["eigenvalues"], found.num_matvecs)

    ladders: dict[tuple[str, str], list[Rung]] = {
        (US, "Lanczos, rel_error"): [
            Rung(f"{e:g}", lambda s, e=e: ours(e, s)) for e in (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
        ],
        (PYHESSIAN, "deflated power, tol"): [
            Rung(f"{t:g}", lambda s, t=t: peers.pyhessian_eigenvalues(network, 50, tol=t, max_iter=2000, seed=s))
            for t in (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
        ],
        (EIGENTHINGS, "Lanczos, steps"): [
            Rung(f"{m}", lambda s, m=m: peers.eigenthings_lanczos(network, 50, num_steps=m, seed=s))
            for m in (60, 70, 80, 90, 95, 100, 105, 110, 115, 120, 130)
        ],
        (EIGENTHINGS, "deflated power, tol"): [
            Rung(f"{t:g}", lambda s, t=t: peers.eigenthings_power(network, 50, tol=t, max_iter=2000, seed=s))
            for t in (0.1, 0.03, 0.02, 0.01, 3e-3)
        ],
        (CURVLINOPS, "eigsh, tol"): [
            Rung(f"{t:g}", lambda s, t=t: peers.curvlinops_eigenvalues(network, 50, tol=t, seed=s))
            for t in (1, 0.1, 1e-2, 1e-3)
        ],
    }
    contenders = [Contender(US, "Lanczos, rel_error 0.01", lambda s: ours(0.01, s))]
    curves = {}
    for (tool, what), rungs in ladders.items():
        limit = 0 if tool == US else 0.01
        chosen, curve = cheapest(tool, rungs, error, limit=limit, seeds=1 if quick else 5)
        curves[f"{tool} ({what.split(',')[0]})"] = curve
        if chosen is not None:
            chosen.setting = f"{what} {chosen.setting}"
            contenders.append(chosen)
    certified, steps = _certified_lanczos(network)
    contenders.append(certified)
    timings = race(contenders, repeats=2 if quick else 5, error=error)
    mine, theirs = timings[0], timings[1:]
    timings[-1].note = "as many steps as it takes to say itself that all 50 converged"
    blind, oracle = [t for t in theirs if t is not timings[-1]], timings[-1]
    return Row(
        "a",
        f"{network.name}, all 1437 examples: 50 largest eigenvalues, each within 1 %",
        timings,
        [
            ratio_bar(">= 20x PyHessian at any setting that is right", mine, _of(theirs, PYHESSIAN), at_least=20),
            ratio_bar(
                ">= 3x the fastest correct peer, its setting chosen by the exact answer", mine, blind, at_least=3
            ),
            ratio_bar(
                ">= 3x the fastest peer that can tell that it is correct",
                mine,
                [oracle, *_of(blind, CURVLINOPS), *_of(blind, PYHESSIAN)],
                at_least=3,
            ),
            Bar("ours within 1 % for every seed", f"{max(mine.errors):.2g}", max(mine.errors) <= 0.01),
        ],
        {"steps after which hessian-eigenthings reports all 50 converged to 1 %": steps},
        {"top 50 eigenvalues": curves},
    )


def trace_relu(quick: bool) -> Row:
    """Row b."""
    return _trace("b", "relu", quick)


def trace_tanh(quick: bool) -> Row:
    """Row c."""
    return _trace("c", "tanh", quick)


def microbatches(quick: bool) -> Row:
    """Row d."""
    network, whole = digits_mlp("relu", 4), subject("relu")
    network.model.load_state_dict(whole.model.state_dict())
    _, trace, deviation = exact("relu")

    def error(value: float) -> float:
        return abs(value / trace - 1)

    kept = network.objective()

    def ours(seed: int) -> Found:
        found = measure.trace(network.objective(), method="hutchinson", num_probes=32, rel_error=0.01, seed=seed)
        return Found(found.value, found.num_matvecs)

    def ours_again(seed: int) -> Found:
        found = measure.trace(kept, method="hutchinson", num_probes=32, rel_error=0.01, seed=10_000 + seed)
        Work.of(kept).measured.clear()
        return Found(found.value, found.num_matvecs)

    contenders = [
        Contender(US, "from model and data", ours),
        Contender(US, "on an objective that has been used", ours_again),
        Contender(CURVLINOPS, "hutchinson_trace", lambda s: peers.curvlinops_trace(network, "hutchinson", 32, seed=s)),
        Contender(
            EIGENTHINGS, "hutchinson", lambda s: _estimate(peers.eigenthings_trace(network, "hutchinson", 32, seed=s))
        ),
        Contender(PYHESSIAN, "trace", lambda s: _mean(peers.pyhessian_trace(network, 32, seed=s))),
    ]
    timings = race(contenders, repeats=3 if quick else 9, error=error)
    return Row(
        "d",
        f"{network.name}, data in 4 microbatches: trace by 32 Rademacher probes",
        timings,
        [ratio_bar("no slower than curvlinops", timings[0], _of(timings, CURVLINOPS), at_least=1)],
        {"standard error of 32 probes, relative": deviation / trace / 32**0.5},
    )


def _trace(key: str, activation: str, quick: bool) -> Row:
    network = subject(activation)
    _, trace, deviation = exact(activation)
    seeds = 5 if quick else 30

    def error(value: float) -> float:
        return abs(value / trace - 1)

    def ours(seed: int, **args: object) -> Found:
        found = measure.trace(network.objective(), rel_error=0.01, seed=seed, **args)
        return Found(found.value, found.num_matvecs)

    needed = math.ceil((1.96 * deviation / (0.01 * trace)) ** 2)
    measured = 100 if quick else 400
    contenders = [Contender(US, "auto", ours), Contender(US, "deflated", lambda s: ours(s, method="deflated"))]
    contenders[0].inner = 5 if activation == "relu" else 1
    curves: dict[str, list[tuple[float, float]]] = {}
    ladders: dict[tuple[str, str], Callable[[int, int], Found]] = {
        (EIGENTHINGS, "hutch++"): lambda m, s: _estimate(peers.eigenthings_trace(network, "hutch++", m, seed=s)),
        (CURVLINOPS, "hutch++"): lambda m, s: peers.curvlinops_trace(network, "hutch++", m, seed=s),
        (CURVLINOPS, "xtrace"): lambda m, s: peers.curvlinops_trace(network, "xtrace", m, seed=s),
    }
    for (tool, method), work in ladders.items():
        rungs = [Rung(f"{m}", lambda s, m=m, work=work: work(m, s)) for m in (24, 36, 48, 60, 78, 102, 138, 180, 240)]
        chosen, curve = cheapest(tool, rungs, error, limit=0.01, seeds=seeds, over_seeds=interval_95)
        curves[f"{tool} ({method})"] = curve
        if chosen is not None:
            chosen.setting = f"{method}, {chosen.setting} products"
            contenders.append(chosen)
    ours_rungs = [
        Rung(
            f"{e:g}",
            lambda s, e=e: Found(measure.trace(network.objective(), method="deflated", rel_error=e, seed=s).value),
        )
        for e in (0.1, 0.03, 0.01, 3e-3, 1e-3)
    ]
    _, curves[f"{US} (deflated)"] = cheapest(US, ours_rungs, error, limit=0, seeds=seeds, over_seeds=interval_95)
    contenders += [
        Contender(
            PYHESSIAN,
            f"Hutchinson, {needed} probes",
            lambda s: _mean(peers.pyhessian_trace(network, measured, seed=s)),
            factor=needed / measured,
        ),
        Contender(
            CURVLINOPS,
            f"Hutchinson, {needed} probes",
            lambda s: peers.curvlinops_trace(network, "hutchinson", measured // 50 * 50, seed=s, block=50),
            factor=needed / measured,
        ),
    ]
    timings = race(contenders, repeats=2 if quick else 7, error=error)
    for timing in timings[-2:]:
        curves[f"{timing.tool} (Hutchinson)"] = [
            (timing.median * n / needed, 1.96 * deviation / trace / n**0.5) for n in (10, 100, 1000, needed)
        ]
        timing.errors, timing.note = [], "error 1.0e-02 at 95 % by the exact variance"
    best = timings[0]
    if activation == "relu":
        curves[f"{US} (exact)"] = [(best.median, max(max(best.errors), 1e-7))]
    wanted = 100 if activation == "relu" else 20
    bars = [
        ratio_bar(f">= {wanted}x PyHessian's Hutchinson at the probes 1 % needs", best, timings[-2:-1], at_least=wanted)
    ]
    bars.append(
        ratio_bar("beside the fastest peer, its products chosen by the exact answer", best, timings[2:], at_least=0)
    )
    bars[-1].met = None
    facts: dict[str, object] = {
        "exact trace": trace,
        "standard deviation of one Rademacher sample": deviation,
        "probes that 1 % needs (95 %)": needed,
        "ours, deflated, 95 % of errors over seeds within": interval_95(timings[1].errors),
    }
    if activation == "relu":
        bars.append(_exact_in_gradients(network, quick, timings))
    return Row(
        key,
        f"{network.name}, all 1437 examples: trace to 1 % (95 %)",
        timings,
        bars,
        facts,
        {f"trace, {activation}": curves},
    )


def _exact_in_gradients(network: Subject, quick: bool, timings: list[Timing]) -> Bar:
    """The exact trace on an objective that is there already, in units of a bare gradient."""
    objective = network.objective()
    inner = 10

    def diagonal(_seed: int) -> Found:
        return Found(gauss_newton_diagonal(objective, of_hessian=True)[0])

    def metric(_seed: int) -> Found:
        objective.forget()
        return Found(measure.trace(objective, method="exact").value)

    gradient, bare, whole = race(
        [
            Contender("torch", "one gradient, bare", lambda _: Found(network.gradient()), inner=5 * inner),
            Contender(US, "exact diagonal, objective there already", diagonal, inner=inner),
            Contender(US, "measure.trace(method='exact'), objective there already", metric, inner=inner),
        ],
        repeats=3 if quick else 9,
    )
    timings += [gradient, bare, whole]
    units = whole.median / gradient.median
    return Bar("exact mode <= 12 gradients", f"{units:.2f} gradients", units <= 12)


def _certified_lanczos(network: Subject) -> tuple[Contender, int]:
    """hessian-eigenthings with as many steps as make it report every one of 50 converged, on five seeds."""
    steps = 100
    while not all(peers.eigenthings_reports(network, 50, num_steps=steps, tol=0.01, seed=seed) for seed in range(5)):
        steps += 5
    return Contender(
        EIGENTHINGS,
        f"Lanczos, {steps} steps",
        lambda s: peers.eigenthings_lanczos(network, 50, num_steps=steps, seed=s),
    ), steps


def _of(timings: list[Timing], tool: str) -> list[Timing]:
    return [timing for timing in timings if timing.tool == tool]


def _mean(found: Found) -> Found:
    return found._replace(value=float(np.mean(found.value)))


def _estimate(found: Found) -> Found:
    return found._replace(value=found.value.estimate)


ROWS = {"a": top_50, "b": trace_relu, "c": trace_tanh, "d": microbatches}

"""Row e: the largest eigenvalue to 1 %, on an MLP, a ResNet-18 and a vision transformer."""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import peers
from benchmarks.calibrate import Rung, cheapest
from benchmarks.digits import subject
from benchmarks.peers import CURVLINOPS, EIGENTHINGS, PYHESSIAN
from benchmarks.race import Contender, Found, race
from benchmarks.report import US, Bar, Row, ratio_bar
from benchmarks.subjects import Exact, Subject, image_network
from landscape import measure

Work = Callable[[float, int], Found]


def ladders(network: Subject) -> dict[tuple[str, str], tuple[tuple[float, ...], Work]]:
    """By tool and method, settings from cheap to dear and how to run one with a seed; the value is one number."""
    methods: dict[tuple[str, str], tuple[tuple[float, ...], Work]] = {
        (PYHESSIAN, "power, tol"): (
            (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4),
            lambda t, s: peers.pyhessian_eigenvalues(network, 1, tol=t, max_iter=300, seed=s),
        ),
        (EIGENTHINGS, "Lanczos, steps"): (
            (3, 4, 5, 6, 7, 8, 10, 12, 15, 20),
            lambda m, s: peers.eigenthings_lanczos(network, 1, num_steps=int(m), seed=s),
        ),
        (CURVLINOPS, "eigsh, tol"): (
            (1, 0.1, 0.01),
            lambda t, s: peers.curvlinops_eigenvalues(network, 1, tol=t, seed=s),
        ),
    }
    return {name: (settings, lambda x, s, work=work: _first(work(x, s))) for name, (settings, work) in methods.items()}


def lambda_max(quick: bool) -> Row:
    """Row e."""
    networks = [
        subject("relu"),
        image_network("resnet18", 64, epochs=1, width=16),
        image_network("vit-small", 16, epochs=1, width=192, depth=6, num_heads=3),
    ]
    timings, bars, facts = [], [], {}
    for network in networks:
        print(network.name, file=sys.stderr, flush=True)
        (exact,) = Exact(network, torch.float32).top(1, 1e-3)
        found, told = _race(network, float(exact), quick)
        name = network.name.split(",")[0]
        facts[network.name] = f"largest eigenvalue {exact:.5g}"
        told_timings = [timing for timing in found[1:] if timing.setting in told]
        bars += [
            ratio_bar(
                f"{name}: no slower than any peer stopped by its own tolerance", found[0], told_timings, at_least=1
            ),
            ratio_bar(f"{name}: no slower than any peer stopped by the exact answer", found[0], found[1:], at_least=1),
            Bar(f"{name}: within 1 % for every seed", f"{max(found[0].errors):.2g}", max(found[0].errors) <= 0.01),
        ]
        for timing in found:
            timing.note = "; ".join(
                part
                for part in (name, "" if timing.tool == US or timing.setting in told else "stopped by the answer")
                if part
            )
        timings += found
    return Row("e", "largest eigenvalue to 1 %", timings, bars, facts)


def own_tolerance(network: Subject, rel_error: float, seeds: int) -> list[Contender]:
    """The peers as a user has them who does not know the answer: 1 % asked for, or steps until it is reported."""
    work = ladders(network)
    steps = 2
    while not all(
        peers.eigenthings_reports(network, 1, num_steps=steps, tol=rel_error, seed=seed) for seed in range(seeds)
    ):
        steps += 1
    chosen = {
        (PYHESSIAN, "power, tol"): rel_error,
        (EIGENTHINGS, "Lanczos, steps"): steps,
        (CURVLINOPS, "eigsh, tol"): rel_error,
    }
    return [
        Contender(tool, f"{what} {x:g}", lambda s, w=work[tool, what][1], x=x: w(x, s))
        for (tool, what), x in chosen.items()
    ]


def _race(network: Subject, exact: float, quick: bool) -> tuple[list, set[str]]:
    seeds = 2 if quick else 5

    def error(value: float) -> float:
        return abs(value / exact - 1)

    def ours(seed: int) -> Found:
        found = measure.lambda_max(network.objective(), rel_error=0.01, seed=seed)
        return Found(found.value, found.num_matvecs)

    inner = 5 if len(network.parameters) < 10 else 1
    contenders = [Contender(US, "rel_error 0.01", ours)]
    told = own_tolerance(network, 0.01, seeds)
    contenders += [c for c in told if max(error(c.work(1000 + seed).value) for seed in range(seeds)) <= 0.01]
    for (tool, what), (settings, work) in ladders(network).items():
        rungs = [Rung(f"{what} {x:g}", lambda s, x=x, work=work: work(x, s)) for x in settings]
        start = time.perf_counter()
        chosen, _ = cheapest(tool, rungs, error, limit=0.01, seeds=seeds)
        print(f"{tool} {what} {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        if chosen is not None and all(chosen.setting != c.setting for c in contenders):
            contenders.append(chosen)
    for contender in contenders:
        contender.inner = inner
    return race(contenders, repeats=2 if quick else 7, error=error), {c.setting for c in told}


def _first(found: Found) -> Found:
    return found._replace(value=float(np.asarray(found.value).reshape(-1)[0]))


ROWS = {"e": lambda_max}

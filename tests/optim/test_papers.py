"""Every optimizer step by step beside its paper's update rule, written again in `naive`; and where two methods meet."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from landscape.optim import ASAM, CRSAM, GAM, RSAM, SAM, SASAM, SASGD, CurvSAM
from tests.optim import naive
from tests.optim.problems import BASES, PROBLEMS, Problem, distance


@dataclass(frozen=True)
class Case:
    """A method: the optimizer over a base, its naive transcription, and options of the two groups."""

    make: Callable[[Optimizer, Problem], Optimizer]
    naive: Callable[..., Iterator[Tensor]]  # (problem, losses, weights, update)
    options: tuple[dict[str, Any], dict[str, Any]] = field(default=({}, {}))
    named: bool = True
    returns_clean_loss: bool = True


RHOS = ({"rho": 0.05}, {"rho": 0.2})


def gam_by_group(mode: str, *, oracle: str = "sam") -> Case:
    """Each group with three radii of its own."""
    radii = {"rho": (0.05, 0.2), "rho_prime": (0.02, 0.01), "rho_sam": (0.07, 0.03)}

    def transcription(p: Problem, *run: Any) -> Iterator[Tensor]:
        values: dict[str, Any] = {name: p.per_weight(*pair) for name, pair in radii.items()} | {"alpha": 0.6}
        rho_sam = values.pop("rho_sam")
        if mode == "accelerated":
            return naive.gam_accelerated(*run, beta=0.5, gamma=0.03, **values)
        return naive.gam(*run, mode=mode, rho_sam=rho_sam if oracle == "sam" else None, **values)

    options = tuple({name: pair[group] for name, pair in radii.items()} for group in (0, 1))
    return Case(lambda base, _: GAM(base, mode=mode, oracle=oracle), transcription, options)


def gam(mode: str, *, oracle: str = "loss", period: int = 1) -> Case:
    settings = {"mode": mode, "rho": 0.1, "alpha": 0.6, "rho_prime": 0.02, "period": period}
    return Case(
        lambda base, _: GAM(base, oracle=oracle, rho_sam=0.07, **settings),
        lambda p, *run: naive.gam(*run, rho_sam=0.07 if oracle == "sam" else None, **settings),
    )


def accelerated(preset: str | None, *, period: int = 1, **settings: float) -> Case:
    g0 = 1.0 if preset == "official" else None
    values = {"rho": 0.2, "rho_prime": 0.02, "alpha": 0.6, "beta": 0.5, "gamma": 0.03, **settings}
    return Case(
        lambda base, _: GAM(base, mode="accelerated", preset=preset, period=period, **settings),
        lambda p, *run: naive.gam_accelerated(*run, g0_coefficient=g0, period=period, **values),
    )


def rsam(**settings: Any) -> Case:
    def transcription(p: Problem, *run: Any) -> Iterator[Tensor]:
        values = {"sigma": 0.001, "lam": 2.0, "filter_wise": True, **settings}
        filters = p.filters() if values.pop("filter_wise") else None
        return naive.rsam(*run, rho=p.per_weight(0.05, 0.2), filters=filters, draws=p.draws(), **values)

    return Case(lambda base, p: p.drawing(RSAM)(base, **settings), transcription, RHOS, returns_clean_loss=False)


def curvsam(**settings: Any) -> Case:
    values = {"beta": 0.9, "delta": 0.1, "update_every": 5, **settings}
    return Case(
        lambda base, p: p.drawing(CurvSAM)(base, **settings),
        lambda p, *run: naive.curvsam(*run, rho=p.per_weight(0.05, 0.2), draws=p.draws(), **values),
        RHOS,
    )


def asam(scaled: Callable[[str, Tensor], bool], options: tuple[dict[str, Any], dict[str, Any]], **extra: Any) -> Case:
    """`adaptive` options of the groups override the rule for names."""
    settings = {k: v for k, v in extra.items() if k != "named"}
    values = {"eta": 0.0, "eps": 1e-12} if "variant" in settings else {"eta": settings.get("eta", 0.01)}
    return Case(
        lambda base, _: ASAM(base, **settings),
        lambda p, *run: naive.asam(*run, rho=p.per_weight(0.5, 0.8), scaled=p.where(scaled), **values),
        ({"rho": 0.5, **options[0]}, {"rho": 0.8, **options[1]}),
        named=extra.get("named", True),
    )


CASES = {
    "sam": Case(lambda base, _: SAM(base, rho=9.0), lambda p, *run: naive.sam(*run, rho=p.per_weight(0.05, 0.2)), RHOS),
    "sam, default": Case(lambda base, _: SAM(base), lambda p, *run: naive.sam(*run, rho=0.05)),
    "sam, one group unperturbed": Case(
        lambda base, _: SAM(base, rho=0.1),
        lambda p, *run: naive.sam(*run, rho=0.1, perturbed=p.per_weight(1, 0)),
        ({}, {"perturb": False}),
    ),
    "sam, coupled": Case(
        lambda base, _: SAM(base, rho=0.3, coupled_weight_decay=True),
        lambda p, losses, w, _: naive.sam(
            losses, w, p.update(weight_decay=0.0), rho=0.3, coupled=p.option("weight_decay")
        ),
    ),
    "asam": asam(lambda name, p: "weight" in name, ({}, {})),
    "asam, eta": asam(lambda name, p: "weight" in name, ({}, {}), eta=0.3),
    "asam, no names": asam(lambda name, p: p.ndim >= 2, ({}, {}), named=False),
    "asam, davda54": asam(lambda name, p: True, ({}, {}), variant="davda54"),
    "asam, default": Case(
        lambda base, _: ASAM(base),
        lambda p, *run: naive.asam(*run, rho=0.5, eta=0.01, scaled=p.where(lambda name, _: "weight" in name)),
    ),
    "asam, adaptive by group": Case(
        lambda base, _: ASAM(base),
        lambda p, *run: naive.asam(*run, rho=0.5, eta=0.01, scaled=p.per_weight(0, 1)),
        ({"adaptive": False}, {"adaptive": True}),
    ),
    "asam, one group unperturbed": Case(
        lambda base, _: ASAM(base),
        lambda p, *run: naive.asam(
            *run, rho=0.5, eta=0.01, scaled=p.where(lambda n, _: "weight" in n), perturbed=p.per_weight(1, 0)
        ),
        ({}, {"perturb": False}),
    ),
    "rsam": rsam(),
    "rsam, loud": rsam(sigma=0.1, lam=0.7),
    "rsam, not by filter": rsam(sigma=0.1, filter_wise=False),
    "crsam": Case(
        lambda base, _: CRSAM(base),
        lambda p, *run: naive.crsam(*run, rho=0.1, alpha=0.1, beta=0.01, log=False),
    ),
    "crsam, groups": Case(
        lambda base, _: CRSAM(base, alpha=0.3, beta=0.2),
        lambda p, *run: naive.crsam(*run, rho=p.per_weight(0.05, 0.2), alpha=0.3, beta=0.2, log=False),
        RHOS,
    ),
    "crsam, one group unperturbed": Case(
        lambda base, _: CRSAM(base, alpha=0.3, beta=0.2),
        lambda p, *run: naive.crsam(*run, rho=0.1, alpha=0.3, beta=0.2, log=False, perturbed=p.per_weight(1, 0)),
        ({}, {"perturb": False}),
    ),
    "crsam, log": Case(
        lambda base, _: CRSAM(base, alpha=0.02, beta=0.01, regularizer="log"),
        lambda p, *run: naive.crsam(*run, rho=0.1, alpha=0.02, beta=0.01, log=True),
    ),
    "crsam, log, groups": Case(
        lambda base, _: CRSAM(base, alpha=0.02, beta=0.01, regularizer="log"),
        lambda p, *run: naive.crsam(*run, rho=p.per_weight(0.05, 0.2), alpha=0.02, beta=0.01, log=True),
        RHOS,
    ),
    "curvsam": curvsam(),
    "curvsam, every step": curvsam(update_every=1, beta=0.5),
    "curvsam, small curvature": curvsam(beta=0.1, delta=0.7),
    "sam, root of the rate": Case(
        lambda base, _: SAM(base, rho="sqrt-lr"), lambda p, *run: naive.sam(*run, rho=p.option("lr").sqrt())
    ),
    "sam, root of the rate in one group": Case(
        lambda base, _: SAM(base),
        lambda p, *run: naive.sam(*run, rho=torch.where(p.per_weight(1, 0) > 0, p.option("lr").sqrt(), 0.2)),
        ({"rho": "sqrt-lr"}, {"rho": 0.2}),
    ),
    "gam, hvp, sam, groups": gam_by_group("hvp"),
    "gam, fd, groups": gam_by_group("fd", oracle="loss"),
    "gam, fd, sam, groups": gam_by_group("fd"),
    "gam, accelerated, groups": gam_by_group("accelerated", oracle="loss"),
    "gam, hvp": gam("hvp"),
    "gam, hvp, sam": gam("hvp", oracle="sam"),
    "gam, hvp, every third": gam("hvp", period=3),
    "gam, hvp, sam, every third": gam("hvp", oracle="sam", period=3),
    "gam, default": Case(lambda base, _: GAM(base), lambda p, *run: naive.gam(*run, mode="hvp", rho=0.2, alpha=0.6)),
    "gam, fd": gam("fd"),
    "gam, fd, sam": gam("fd", oracle="sam"),
    "gam, fd, every third": gam("fd", period=3),
    "gam, accelerated": accelerated(None),
    "gam, accelerated, much orthogonal": accelerated(None, alpha=0.1, beta=0.1, gamma=0.7),
    "gam, accelerated, official": accelerated("official"),
    "gam, accelerated, official, much orthogonal": accelerated("official", alpha=0.1, beta=0.1, gamma=0.7),
    "gam, accelerated, every third": accelerated(None, period=3),
}


RUNS = [
    (name, *run)
    for name in CASES
    for run in [*itertools.product(PROBLEMS, ["sgd", "adamw"]), ("tiny", "sgd")]
    if not ("log" in name and "tiny" in run)  # the gradient of a logarithm is not tiny: that run would blow up
]


@pytest.mark.parametrize(("name", "problem_name", "base"), RUNS, ids=lambda s: s)
def test_replays_its_paper_step_by_step(name: str, problem_name: str, base: str) -> None:
    problem, case = Problem(problem_name, base), CASES[name]
    before = problem.flat()
    expected = list(case.naive(problem, problem.losses(), before, problem.update()))
    optimizer = case.make(problem.base(*case.options, named=case.named), problem)
    at = [before, *expected]
    for step, (loss, weights) in enumerate(problem.run(optimizer)):
        if case.returns_clean_loss:
            clean = naive.value(list(problem.losses())[step], at[step])
            assert loss == pytest.approx(clean, rel=1e-9, abs=0), f"loss of step {step}"
        assert distance(weights, expected[step]) < 1e-9, f"step {step}"


def test_no_two_transcriptions_are_alike() -> None:
    """Else the table would not tell its rows from each other; where they are one method, it is said."""
    ends = {}
    for name, case in CASES.items():
        problem = Problem("network")
        ends[name] = list(case.naive(problem, problem.losses(), problem.flat(), problem.update()))[-1]
        assert torch.isfinite(ends[name]).all()
    for one, other in itertools.combinations(ends, 2):
        assert distance(ends[one], ends[other]) > 1e-6, f"{one} and {other}"


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_curvsam_by_finite_differences_is_close_to_the_exact_products(base: str) -> None:
    problem = Problem("network", base)
    values = {"rho": 0.2, "beta": 0.5, "delta": 0.1, "update_every": 2}
    expected = naive.curvsam(problem.losses(), problem.flat(), problem.update(), draws=problem.draws(), **values)
    expected = list(expected)
    without = list(naive.sam(problem.losses(), problem.flat(), problem.update(), rho=0.2))
    optimizer = problem.drawing(CurvSAM)(problem.base(), hvp="finite-difference", **values)
    got = [weights for _, weights in problem.run(optimizer, with_loss=False)]
    assert max(map(distance, got, expected)) < 1e-5
    assert max(map(distance, without, expected)) > 1e-2


FIRST_RATES = [("network", 0.02), ("network", 2.0), ("quadratic", 0.02), ("quadratic", 0.5)]
FIRST_RATES += [("rosenbrock", 0.0002), ("rosenbrock", 0.005)]  # a small one grows at first, a large one is bounded


@pytest.mark.parametrize("sharpness_aware", [False, True], ids=["sa-sgd", "sa-sam"])
@pytest.mark.parametrize(("problem_name", "lr"), FIRST_RATES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"delta": 1.0}, {"damping": 0.5, "delta": 0.1}, {"preset": "official"}, {"preset": "official", "delta": 0.1}],
    ids=str,
)
def test_step_size_methods_replay_their_paper(
    settings: dict[str, Any], problem_name: str, lr: float, sharpness_aware: bool
) -> None:
    problem = Problem(problem_name)
    official = settings.get("preset") == "official"
    decays = (0.03, 0.03 if official else 0.0)  # the official code has a step size for each group: it gets one
    groups = [{**group, "weight_decay": decay} for group, decay in zip(problem.groups(), decays, strict=True)]
    params = problem.params if official else groups
    optimizer = (SASAM if sharpness_aware else SASGD)(params, lr=lr, weight_decay=0.03, **settings)
    run = {"lr": lr, "weight_decay": problem.per_weight(*decays), "official": official, **settings}
    run.pop("preset", None)
    before = problem.flat()
    expected = list(naive.sa_sgd(problem.losses(), before, sharpness_aware=sharpness_aware, **run))
    for step, (loss, weights) in enumerate(problem.run(optimizer)):
        clean = naive.value(list(problem.losses())[step], [before, *expected][step])
        assert loss == pytest.approx(clean, rel=1e-9, abs=0), f"loss of step {step}"
        assert distance(weights, expected[step]) < 1e-9, f"step {step}"


@pytest.mark.parametrize("cls", [SASGD, SASAM])
def test_step_size_without_curvature_grows(cls: type) -> None:
    """A linear loss: no change of the gradient bounds the step; the first one stays, as theta_0 is infinite."""
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = cls([w], lr=0.1, delta=0.21)
    etas, previous = [0.1, 0.1], 0.0
    for theta in [1.0, math.sqrt(1.21), math.sqrt(1 + 0.21 * 1.1)]:
        etas.append(math.sqrt(1 + 0.21 * theta) * etas[-1])
    for eta in etas:

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = w.sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        assert previous - w[0].item() == pytest.approx(eta, rel=1e-12)
        previous = w[0].item()


@pytest.mark.parametrize(
    ("loss", "at", "expected"),
    [
        # L = -w²/2 at 1: v = -1, L+ + L- - 2L = -rho² is dropped, L+ - L- = 2 rho is not
        (lambda w: -(w**2) / 2, 1.0, -(1 - 0.1) + 0.05),
        # L = sin(40 w) at 0: the curvature is 0, L+ - L- = 2 sin 4 < 0; both are dropped
        (lambda w: (40 * w).sin(), 0.0, 40 * math.cos(4.0)),
        # L = exp(w) at 0: both are there
        # L = exp(w) at 0: it is its own derivative, so both quotients are 1
        (lambda w: w.exp(), 0.0, math.exp(0.1) + 0.3 + 0.05),
    ],
    ids=["curvature dropped", "both dropped", "none dropped"],
)
def test_crsam_drops_the_logarithm_of_what_is_not_positive(
    loss: Callable[[Tensor], Tensor], at: float, expected: float
) -> None:
    w = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    optimizer = CRSAM(SGD([w], lr=1.0), rho=0.1, alpha=0.3, beta=0.05, regularizer="log")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(w)
        value.backward()
        return value

    optimizer.step(closure)
    assert at - w.item() == pytest.approx(expected, rel=1e-9)


def plain(base: Optimizer) -> Optimizer:
    return base


IDENTITIES: dict[str, tuple[Callable[[Optimizer], Optimizer], Callable[[Optimizer], Optimizer]]] = {
    "sam at rho 0": (lambda base: SAM(base, rho=0.0), plain),
    "asam at rho 0": (lambda base: ASAM(base, rho=0.0), plain),
    "crsam at alpha = beta = 0": (lambda base: CRSAM(base, alpha=0.0, beta=0.0), lambda base: SAM(base, rho=0.1)),
    "crsam, log, at alpha = beta = 0": (
        lambda base: CRSAM(base, alpha=0.0, beta=0.0, regularizer="log"),
        lambda base: SAM(base, rho=0.1),
    ),
    "rsam at sigma 0": (lambda base: RSAM(base, sigma=0.0), SAM),
    "curvsam at beta 1": (lambda base: CurvSAM(base, beta=1.0), SAM),
    "gam, hvp, at alpha 0": (lambda base: GAM(base, alpha=0.0), plain),
    "gam, fd, at alpha 0": (lambda base: GAM(base, alpha=0.0, mode="fd"), plain),
    "gam, hvp, sam, at alpha 0": (lambda base: GAM(base, alpha=0.0, oracle="sam"), SAM),
    "gam, fd, sam, at alpha 0": (lambda base: GAM(base, alpha=0.0, mode="fd", oracle="sam"), SAM),
    "gam, fd, sam at rho', at alpha 0": (
        lambda base: GAM(base, alpha=0.0, mode="fd", oracle="sam", rho_sam=0.02),
        lambda base: SAM(base, rho=0.02),
    ),
    "gam, accelerated, at alpha 1, gamma 0": (
        lambda base: GAM(base, mode="accelerated", alpha=1.0, gamma=0.0),
        lambda base: SAM(base, rho=0.02),
    ),
    "asam with T = 1": (lambda base: ASAM(adaptive(base, False), rho=0.05), SAM),
}


def adaptive(base: Optimizer, flag: bool) -> Optimizer:
    for group in base.param_groups:
        group["adaptive"] = flag
    return base


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", IDENTITIES)
def test_where_two_methods_are_one(name: str, base: str) -> None:
    one, other = IDENTITIES[name]
    runs = []
    for make in (one, other):
        problem = Problem("network", base)
        runs.append([weights for _, weights in problem.run(make(problem.base()), with_loss=make is one)])
    assert max(map(distance, *runs)) < 1e-10


@pytest.mark.parametrize("preset", [None, "official"])
@pytest.mark.parametrize("base", BASES)
def test_accelerated_gam_at_alpha_1_and_beta_1_is_gsam(base: str, preset: str | None) -> None:
    problem = Problem("network", base)
    expected = list(naive.gsam(problem.losses(), problem.flat(), problem.update(), rho=0.04, alpha=0.4))
    settings = {"mode": "accelerated", "alpha": 1.0, "beta": 1.0, "gamma": 0.4, "rho_prime": 0.04, "preset": preset}
    got = [weights for _, weights in problem.run(GAM(problem.base(), **settings))]
    assert max(map(distance, got, expected)) < 1e-10


def test_gam_by_finite_differences_becomes_that_by_products() -> None:
    """As rho' goes to 0, and with an error of its first order."""
    errors = []
    for rho_prime in (1e-3, 1e-4):
        runs = []
        for mode in ("fd", "hvp"):
            problem = Problem("network")
            optimizer = GAM(problem.base(), mode=mode, rho_prime=rho_prime)
            runs.append([weights for _, weights in problem.run(optimizer)])
        errors.append(max(map(distance, *runs)))
    assert errors[0] < 1e-3
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.2)

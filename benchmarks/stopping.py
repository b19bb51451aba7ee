"""Row k: how often a largest eigenvalue is claimed to an accuracy that it does not have, by what stops the iteration.

A Lanczos run depends on the spectrum and on the weights of a random start vector, so that exact spectra of small
networks are enough to draw many runs.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.report import US, Bar, Row
from benchmarks.subjects import CRITERION
from landscape import Objective
from landscape.data import load_data
from landscape.linalg.eigenvalues import Tridiagonal
from landscape.linalg.lanczos import Lanczos
from landscape.models import build_model
from landscape.operators import Hessian

REL_ERROR = 0.05
_NETWORKS: dict[str, tuple[str, dict, int]] = {
    f"{what}, {steps} steps of SGD": (name, args, steps)
    for what, name, args in (
        ("MLP 64-24-16-10 relu", "mlp", {"hidden": (24, 16)}),
        ("MLP 64-24-16-10 tanh", "mlp", {"hidden": (24, 16), "activation": "tanh"}),
        ("cnn (width 4)", "cnn", {"width": 4}),
    )
    for steps in (0, 20, 300)
}


def stopping(quick: bool) -> Row:
    """Row k."""
    num_starts = 50 if quick else 300
    rules: dict[str, Callable[[Tridiagonal, float, float], bool]] = {
        "residual": lambda _, value, residual: residual <= REL_ERROR * value,
        US: lambda T, value, residual: residual <= REL_ERROR * value and T.rules_out(value * (1 + REL_ERROR)),
    }
    facts, worst = {}, dict.fromkeys(rules, 0.0)
    for name, (model, args, steps) in _NETWORKS.items():
        spectrum = _spectrum(model, args, steps)
        A, top = torch.diag(spectrum), float(spectrum.max())
        wrong, products = dict.fromkeys(rules, 0), dict.fromkeys(rules, 0)
        for seed in range(num_starts):
            run = Lanczos(A, generator=torch.Generator().manual_seed(seed))
            for rule, stops in rules.items():
                value, m = _stopped(run, stops)
                wrong[rule] += value < (1 - REL_ERROR) * top
                products[rule] += m
        for rule in rules:
            worst[rule] = max(worst[rule], wrong[rule] / num_starts)
        facts[name] = "; ".join(f"{r}: {wrong[r]} wrong, {products[r] / num_starts:.1f} products" for r in rules)
    return Row(
        "k",
        f"largest eigenvalue to {REL_ERROR:.0%}, {num_starts} random starts: how often it is further off than claimed",
        [],
        [
            Bar(
                "at most 5 % of the claims are wrong, in every network", f"{worst[US]:.1%} at worst", worst[US] <= 0.05
            ),
            Bar("beside the residual alone", f"{worst['residual']:.1%} at worst", None),
        ],
        facts,
    )


def _stopped(run: Lanczos, stops: Callable[[Tridiagonal, float, float], bool]) -> tuple[float, int]:
    m = 0
    while True:
        m += 1
        T = run.first(m)
        values, residuals, _ = T.ritz()
        if stops(T, float(values[0]), float(residuals[0])) or run.complete:
            return float(values[0]), m


def _spectrum(name: str, args: dict, steps: int) -> torch.Tensor:
    """All eigenvalues of the Hessian on 512 digits in float64, after some steps of SGD."""
    data = load_data("digits").train.sample(512, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = build_model(name, input_shape=(1, 8, 8), num_classes=10, **args)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for chosen in torch.randint(len(data), (steps, 64)):
            optimizer.zero_grad()
            CRITERION(model(data.inputs[chosen]), data.targets[chosen]).backward()
            optimizer.step()
    batch = data.inputs.double(), data.targets
    H = Hessian(Objective(model.double().eval(), CRITERION, [batch]))
    columns = torch.eye(H.shape[0], dtype=torch.float64).split(64, dim=1)
    return torch.from_numpy(np.linalg.eigvalsh(torch.cat([H @ block for block in columns], dim=1).numpy()))


ROWS = {"k": stopping}

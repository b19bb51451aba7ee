"""Row i: how time and memory grow with examples, products and probes."""

import numpy as np
import torch

from benchmarks.memory import Stream
from benchmarks.race import Contender, Found, race
from benchmarks.report import US, Bar, Row
from benchmarks.residual import peak_bytes
from benchmarks.subjects import CRITERION
from landscape import Objective, measure
from landscape.models import build_model
from landscape.operators import Hessian


def growth(quick: bool) -> Row:
    """Row i."""
    model = build_model("mlp", input_shape=(1, 8, 8), num_classes=10)
    batches = list(Stream(16384 if quick else 65536))
    examples = [4096 * 2**power for power in range(3 if quick else 5)]
    counts = [8, 16, 32, 64] if quick else [16, 32, 64, 128, 256]

    def trace(num_examples: int, seed: int) -> Found:
        objective = Objective(model, CRITERION, batches[: num_examples // 512])
        return Found(measure.trace(objective, method="hutchinson", num_probes=20, seed=seed).value, 20)

    def products(H: Hessian, count: int) -> Found:
        v = torch.ones(H.shape[0])
        for _ in range(count):
            H @ v
        return Found(None, count)

    H = Hessian(Objective(model, CRITERION, batches[:4]))
    repeats = 2 if quick else 5
    by_examples = race(
        [Contender(US, f"20 probes, {n} examples", lambda s, n=n: trace(n, s)) for n in examples], repeats=repeats
    )
    by_products = race(
        [Contender(US, f"{k} products, 2048 examples", lambda _, k=k: products(H, k)) for k in counts], repeats=repeats
    )
    exponents = [
        _exponent(examples, [t.median for t in by_examples]),
        _exponent(counts, [t.median for t in by_products]),
    ]
    many, few = (8192, 2048) if quick else (65536, 8192)
    peaks = {(n, k): peak_bytes("trace", str(n), str(k)) for n, k in ((few, 32), (many, 32), (few, 256))}
    least = peaks[few, 32]
    return Row(
        "i",
        "digits MLP: growth of time and memory",
        by_examples + by_products,
        [
            Bar("time linear in examples: exponent 1 +- 0.15", f"{exponents[0]:.3f}", abs(exponents[0] - 1) <= 0.15),
            Bar("time linear in products: exponent 1 +- 0.15", f"{exponents[1]:.3f}", abs(exponents[1] - 1) <= 0.15),
            Bar(
                f"memory independent of examples ({few} to {many}): within 1.2x",
                f"{peaks[many, 32] / least:.2f}x",
                peaks[many, 32] <= 1.2 * least,
            ),
            Bar(
                "memory independent of probes beyond one block (32 to 256): within 1.2x",
                f"{peaks[few, 256] / least:.2f}x",
                peaks[few, 256] <= 1.2 * least,
            ),
        ],
        {
            f"peak memory, {n} examples streamed in batches of 512, {k} probes": f"{peak / 2**20:.0f} MiB"
            for (n, k), peak in peaks.items()
        },
    )


def _exponent(sizes: list[int], times: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


ROWS = {"i": growth}

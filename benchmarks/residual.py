"""Rows f to h: ResNet-18 on images, one product, the exact trace, and the default analysis."""

import json
import math
import subprocess
import sys

import torch

from benchmarks import peers
from benchmarks.calibrate import Rung, cheapest
from benchmarks.largest import ladders
from benchmarks.peers import EIGENTHINGS, PYHESSIAN
from benchmarks.race import Contender, Found, Timing, race
from benchmarks.report import US, Bar, Row, seconds
from benchmarks.subjects import Exact, Subject, image_network, images
from landscape import measure
from landscape.operators import Hessian
from landscape.statistics import half_width

NUM_PRODUCTS = 10


def one_product(quick: bool) -> Row:
    """Row f."""
    network = image_network("resnet18", 8 if quick else 32)
    objective = network.objective()
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(objective.num_params, generator=generator) for _ in range(NUM_PRODUCTS)]

    def ours(_seed: int) -> Found:
        H = Hessian(objective)
        for v in vectors:
            H @ v
        return Found(None, NUM_PRODUCTS)

    def gradients(_seed: int) -> Found:
        network.gradient()
        return Found(None)

    gradient, mine, theirs = race(
        [
            Contender("torch", "one gradient, bare", gradients, inner=2),
            Contender(US, f"a run of {NUM_PRODUCTS} products, graph included", ours),
            Contender(
                PYHESSIAN,
                f"a run of {NUM_PRODUCTS} products (trace)",
                lambda s: peers.pyhessian_trace(network, NUM_PRODUCTS, seed=s),
            ),
        ],
        repeats=2 if quick else 5,
    )
    units = mine.median / NUM_PRODUCTS / gradient.median
    peaks = {tool: peak_bytes("product", tool) for tool in (US, PYHESSIAN)}
    ratio = peaks[US] / peaks[PYHESSIAN]
    return Row(
        "f",
        f"{network.name}: one exact product",
        [gradient, mine, theirs],
        [
            Bar("<= 2.3 gradients a product, averaged over a run (floor 2.0)", f"{units:.2f}", units <= 2.3),
            Bar("peak memory <= 1.3x PyHessian's", f"{ratio:.2f}x", ratio <= 1.3),
        ],
        {
            "gradients a product, PyHessian": theirs.median / NUM_PRODUCTS / gradient.median,
            "peak of resident memory over what it was with model and data loaded": ", ".join(
                f"{tool} {peak / 2**20:.0f} MiB" for tool, peak in peaks.items()
            ),
        },
    )


def exact_trace(quick: bool) -> Row:
    """Row g."""
    num_images, num_probes = (32, 40) if quick else (256, 200)
    network = image_network("resnet18", num_images, epochs=3, width=16)
    gradient, mine = race(
        [
            Contender("torch", "one gradient, bare", lambda _: Found(network.gradient()), inner=2),
            Contender(
                US, "exact, from model and data", lambda _: Found(measure.trace(network.objective(), method="exact"))
            ),
        ],
        repeats=2 if quick else 5,
    )
    probes = Contender(
        PYHESSIAN, f"Hutchinson, {num_probes} probes", lambda s: peers.pyhessian_trace(network, num_probes, seed=s)
    )
    (theirs,) = race([probes], repeats=1, warm_up=False)
    (samples,), found = theirs.values, mine.values[0]
    half_width = 1.96 * samples.std(ddof=1) / num_probes**0.5
    return Row(
        "g",
        f"{network.name}: exact trace",
        [gradient, mine, theirs],
        [
            Bar("error bar zero", f"{found.std_error:g}", found.std_error == 0),
            Bar(
                f"agrees with {num_probes} probes by PyHessian within their 95 % interval",
                f"{found.value:.5g} against {samples.mean():.5g} +- {half_width:.2g}",
                bool(abs(found.value - samples.mean()) <= half_width),
            ),
            Bar("time per image reported in gradients", f"{mine.median / gradient.median:.1f} gradients", None),
        ],
        {"time per image": seconds(mine.median / num_images)},
    )


def default_analysis(quick: bool) -> Row:
    """Row h: the peers' list is a plain pass for loss, accuracy, gradient, the best lambda_max and the best trace."""
    num_images, rel_error = (32 if quick else 256), 0.05
    train = image_network("resnet18", num_images, epochs=3, width=16)
    inputs, targets, _ = images(num_images, part="test")
    splits = {"train": train, "test": Subject("test", train.model, [(inputs, targets)])}

    def ours(seed: int) -> Found:
        objectives = {name: split.objective() for name, split in splits.items()}
        analysis = measure.analyze(objectives, rel_error=rel_error, seed=seed)
        return Found(analysis, sum(m.num_matvecs for split in splits for m in analysis[split].values()))

    (mine,) = race([Contender(US, "analyze, default metrics, train and test", ours)], repeats=1 if quick else 5)
    parts: list[Timing] = []
    total = 0.0
    for name, split in splits.items():
        (gradient,) = race(
            [Contender("torch", "loss, accuracy and gradient", lambda _, n=split: Found(n.gradient()))], repeats=3
        )
        largest = _best_lambda_max(split, mine.values[0][name]["lambda_max"].value, rel_error)
        traces = _traces(split, rel_error, num_probes=20 if quick else 40)
        for timing in (gradient, largest, *traces):
            timing.note = name
        parts += [gradient, largest, *traces]
        total += gradient.median + largest.median + min(timing.median for timing in traces)
    ratio = mine.median / total
    converged = all(m.converged for name in splits for m in mine.values[0][name].values())
    unit = parts[0].median
    return Row(
        "h",
        f"{train.name}, and as many of the test part: the default metrics to {rel_error:.0%}",
        [mine, *parts],
        [
            Bar(
                "<= 0.2x the peers' time for the same list",
                f"{ratio:.2f}x ({seconds(mine.median)} of {seconds(total)})",
                ratio <= 0.2,
            ),
            Bar("ours says that all converged", str(converged), converged),
        ],
        {
            "peers' list": "for each split, one gradient + the fastest lambda_max + the fastest trace below",
            "ours, seconds a metric": ", ".join(
                f"{name} {metric} {seconds(m.seconds)}" for name in splits for metric, m in mine.values[0][name].items()
            ),
            "in gradients of one split": f"ours {mine.median / unit:.0f}, peers {total / unit:.0f}",
        },
    )


def _best_lambda_max(network: Subject, ours: float, rel_error: float) -> Timing:
    """The fastest peer within the accuracy for two seeds, its setting chosen by the answer that all share."""
    exact = float(Exact(network, torch.float32).top(1, 1e-3)[0])
    assert abs(ours / exact - 1) <= rel_error, f"ours is {ours}, ARPACK's {exact}"
    chosen = []
    for (tool, what), (settings, work) in ladders(network).items():
        rungs = [Rung(f"lambda_max, {what} {x:g}", lambda s, x=x, work=work: work(x, s)) for x in settings]
        contender, _ = cheapest(tool, rungs, lambda value: abs(value / exact - 1), limit=rel_error, seeds=2)
        chosen += [contender] if contender else []
    return min(race(chosen, repeats=3, warm_up=False), key=lambda timing: timing.median)


def _traces(network: Subject, rel_error: float, num_probes: int) -> list[Timing]:
    """PyHessian's Hutchinson at the probes that their own spread asks for, and Hutch++ at what its error bar does."""
    probes = Contender(PYHESSIAN, "", lambda s: peers.pyhessian_trace(network, num_probes, seed=s))
    (hutchinson,) = race([probes], repeats=1, warm_up=False)
    samples = hutchinson.values[0]
    needed = math.ceil((1.96 * samples.std(ddof=1) / (rel_error * samples.mean())) ** 2)
    scale = needed / num_probes
    hutchinson.seconds, hutchinson.products = [t * scale for t in hutchinson.seconds], [needed]
    hutchinson.cpu_seconds = [t * scale for t in hutchinson.cpu_seconds]
    hutchinson.setting, hutchinson.extrapolated = f"Hutchinson, {needed} probes", True
    for num_products in (12, 24, 48, 96):
        work = Contender(
            EIGENTHINGS,
            f"hutch++, {num_products} products",
            lambda s, m=num_products: peers.eigenthings_trace(network, "hutch++", m, seed=s),
        )
        (sketched,) = race([work], repeats=1, warm_up=False)
        estimate = sketched.values[0]
        if half_width(estimate.stderr, num_products // 3) <= rel_error * abs(estimate.estimate):
            return [hutchinson, sketched]
    return [hutchinson]


def peak_bytes(*arguments: str) -> int:
    """Peak memory of a work of ``benchmarks.memory`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *arguments], check=True, capture_output=True, text=True
    )
    return int(json.loads(done.stdout)["peak_bytes"])


ROWS = {"f": one_product, "g": exact_trace, "h": default_analysis}

"""Row l: planes of the loss, against a bare forward pass a point, and beside loss-landscapes at equal points.

The floor is the network and its loss on the batch, under ``inference_mode``; no weight is moved and no number read.
loss-landscapes gives losses; ours gives accuracies too, and ``plane`` checks itself (the centre, the curvature of both
slices against products with the Hessian, the noise floor): "the grid alone" goes without. A tool that makes one forward
pass a point is at most as much faster than the peer as the forward passes alone are: that ratio is among the facts.
"""

from typing import Any

import loss_landscapes
import numpy as np
import torch
from loss_landscapes.metrics import Loss

from benchmarks.digits import subject
from benchmarks.race import Contender, Found, Timing, race
from benchmarks.report import US, Bar, Row, ratio_bar
from benchmarks.subjects import CRITERION, Subject, image_network
from landscape.surface import directions, plane
from landscape.surface.walk import Walk

PEER = "loss-landscapes"
SIDE = 51


def planes(quick: bool) -> Row:
    """Row l."""
    digits = subject("relu")
    ((inputs, targets),) = digits.batches
    few = Subject("digits MLP, 128 examples", digits.model, [(inputs[:128], targets[:128])])
    many = Subject("digits MLP, 22992 examples", digits.model, [(inputs.repeat(16, 1, 1, 1), targets.repeat(16))])
    images, narrow = image_network("resnet18", 128), image_network("resnet18", 8, width=16)
    eight = Subject("resnet18, 8 images", images.model, [(images.batches[0][0][:8], images.batches[0][1][:8])])
    for network in (images, narrow):
        _fill_zeros(network)

    repeats = 2 if quick else 5
    timings: list[Timing] = []
    bars: list[Bar] = []
    facts: dict[str, Any] = {}
    for network, num_points, inner, wanted in ((many, 51, 1, 1.15), (images, 3, 1, 1.15), (few, 51, 20, 0.5)):
        ours, floor = _against_the_floor(network, num_points, inner, repeats)
        ratio = ours.median / floor.median
        bars.append(Bar(f"{network.name}: a point in <= {wanted}x the floor", f"{ratio:.3f}x", ratio <= wanted))
        timings += [ours, floor]
    races = [(few, SIDE, 2, 2 * repeats, True), (eight, 3 if quick else 7, 3, repeats, False)]
    if not quick:
        races.append((narrow, SIDE, 3, 1, True))
    for network, num_points, at_least, turns, whole in races:
        found = _against_the_peer(network, num_points, turns, whole=whole)
        timings += found
        ours, (peer, floor) = found[0], found[-2:]
        bars.append(ratio_bar(f"{ours.setting}: >= {at_least}x {PEER}", ours, [peer], at_least=at_least))
        facts[f"{peer.setting}: {PEER} over the forward passes alone"] = f"{peer.median / floor.median:.3g}x"
    found_plane = plane(few.objective(), num_points=3)
    facts["centre of the plane over the loss, less 1 (digits MLP)"] = found_plane.centre / few.objective().value() - 1
    facts["biases of resnet18"] = f"small numbers in place of zero: {PEER} divides by the norm of each"
    return Row("l", "planes of the loss: time a point, and time a plane", timings, bars, facts)


def _against_the_floor(network: Subject, num_points: int, inner: int, repeats: int) -> list[Timing]:
    """Ours and the floor, so many points in a row."""
    objective = network.objective()
    walk = Walk(objective, directions.random(objective).vectors)
    row = _rows(num_points)[0]
    setting = f"{network.name}: a row of {num_points} points"
    together = f", up to {walk.points_at_once} a pass" if walk.points_at_once > 1 else ""
    return race(
        [
            Contender(US, setting + together, lambda _: Found(walk(row)[0]), inner=inner),
            Contender(
                "torch", f"{setting}, forward passes alone", lambda _: _forward(network, num_points), inner=inner
            ),
        ],
        repeats=repeats,
    )


def _against_the_peer(network: Subject, num_points: int, repeats: int, *, whole: bool) -> list[Timing]:
    """Planes along random filter-normalized directions: ours, whole or the grid alone; the peer; the floor."""
    ((inputs, targets),) = network.batches

    def ours(seed: int) -> Found:
        return Found(plane(network.objective(), num_points=num_points, seed=seed).loss)

    def alone(seed: int) -> Found:
        objective = network.objective()
        walk = Walk(objective, directions.random(objective, seed=seed).vectors)
        return Found(np.stack([walk(row)[0] for row in _rows(num_points)]))

    def theirs(seed: int) -> Found:
        torch.manual_seed(seed)
        metric = Loss(CRITERION, inputs, targets)
        return Found(loss_landscapes.random_plane(network.model, metric, steps=num_points, deepcopy_model=True))

    size = f"{network.name}, {num_points} x {num_points}"
    contenders = [
        Contender(US, f"{size}, the grid alone", alone),
        Contender(PEER, size, theirs),
        Contender("torch", f"{size}, forward passes alone", lambda _: _forward(network, num_points**2)),
    ]
    if whole:
        contenders.insert(0, Contender(US, f"{size}, checks included", ours))
    return race(contenders, repeats=repeats, warm_up=repeats > 1)


def _forward(network: Subject, num_times: int) -> Found:
    """The floor: a forward pass and its loss, so many times."""
    ((inputs, targets),) = network.batches
    with torch.inference_mode():
        for _ in range(num_times):
            CRITERION(network.model(inputs), targets)
    return Found(None)


def _rows(num_points: int) -> np.ndarray:  # (n, n, 2)
    axis = np.linspace(-1, 1, num_points)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)


def _fill_zeros(network: Subject) -> None:
    """Biases of an untrained network are zero, and the peer divides by the norm of each."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters:
            if not parameter.any():
                parameter.normal_(std=0.01, generator=generator)


ROWS = {"l": planes}

"""Where many vectors, or many points, go together: what the rules on sizes in operators/ and surface/ come from.

    python -m benchmarks.sizes

For networks and batches of growing size: how much an operation gives on average, how much longer a product with a
vector, or a point of a plane, takes together with others than alone, and what the rule chooses. Below 1 together is
faster. Seconds are the processor's own, of one thread, the least of several; the rules are right where what they choose
is never much slower than the other way. On another kind of machine, run it and look at where the columns cross 1.
"""

import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from benchmarks.subjects import CRITERION, Subject, image_network
from landscape.data import load_data
from landscape.models import build_model
from landscape.operators import GaussNewton, Hessian
from landscape.operators.graph import operation_bytes
from landscape.surface import directions
from landscape.surface.walk import Walk

VECTORS, POINTS = 16, 32
IMAGES = (  # name, sizes, numbers of examples
    ("cnn", {}, (2, 4, 8, 32)),
    ("resnet18", {"width": 4}, (1, 4, 16, 32)),
    ("resnet18", {"width": 16}, (1, 2, 8, 16)),
    ("vit-small", {"width": 48, "depth": 2, "num_heads": 2}, (1, 4, 8, 32)),
    ("vit-small", {"width": 192, "depth": 4, "num_heads": 3}, (1, 2, 4)),
)


class Residual(nn.Module):
    """A perceptron with additions, which surfaces do not know as one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 10)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        h = self.first(x.flatten(1))
        for layer in self.inner:
            h = h + layer(h).relu()
        return self.last(h)


def subjects() -> Iterator[Subject]:
    """Networks from the smallest to those that no longer gain."""
    data = load_data("digits")
    torch.manual_seed(0)
    models = {"mlp": build_model("mlp", input_shape=data.input_shape, num_classes=10)}
    models |= {f"residual mlp {width}": Residual(width) for width in (32, 128)}
    for name, model in models.items():
        for num_examples in (32, 300, 600, len(data.train)):
            batches = data.train.sample(num_examples, seed=0).batches(num_examples)
            yield Subject(f"{name}, {num_examples} digits", model.eval(), list(batches))
    for name, sizes, numbers in IMAGES:
        for num_examples in numbers:
            yield image_network(name, num_examples, **sizes)


def least(work: Callable[[], object]) -> float:
    """Seconds of the processor."""
    times = []
    for _ in range(5):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def products(subject: Subject, operator: type[Hessian] | type[GaussNewton]) -> str:
    """A line of the table."""
    objective = subject.objective()
    V = torch.randn(objective.num_params, VECTORS, generator=torch.Generator().manual_seed(0))
    apart, together, chosen = operator(objective, chunk=1), operator(objective, chunk=VECTORS), operator(objective)
    for one in (apart, together, chosen):
        one @ V[:, :2]
    ratio = least(lambda: together @ V) / least(lambda: apart @ V)
    (graph,) = chosen._graphs()
    return f"{operation_bytes(graph.roots) / 1024:8.1f} KiB {ratio:6.2f}  {'together' if chosen.chunk != 1 else ''}"


def points(subject: Subject) -> str:
    """A line of the table."""
    objective = subject.objective()
    vectors = directions.random(objective).vectors
    row = np.random.default_rng(0).normal(size=(POINTS, 2))
    row[:, 0] = row[0, 0]
    apart, chosen = Walk(objective, vectors, points_at_once=1), Walk(objective, vectors)
    together = chosen if chosen.points_at_once > 1 else Walk(objective, vectors, points_at_once=POINTS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        ratio = least(lambda: together(row)) / least(lambda: apart(row))
    how = f"{chosen.points_at_once} together" if chosen.points_at_once > 1 else ""
    size = apart._operation_bytes(subject.batches[0])
    return f"{size / 1024:8.1f} KiB {ratio:6.2f}  {how}"


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; loss: {type(CRITERION).__name__}")
    for subject in subjects():
        print(f"{subject.name}, {sum(p.numel() for p in subject.parameters):,} parameters")
        for operator in (Hessian, GaussNewton):
            print(f"    {operator.__name__:12}{products(subject, operator)}")
        print(f"    {'points':12}{points(subject)}", flush=True)


if __name__ == "__main__":
    main()

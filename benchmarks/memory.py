"""``python -m benchmarks.memory WORK ...``: peak memory of one piece of work, in a process that does nothing else.

Peak: the highest resident set that the system saw (``ru_maxrss``) less the resident set when model and data were
there. Printed as JSON.
"""

import json
import resource
import sys
from collections.abc import Callable, Iterator

import torch

from benchmarks import peers
from benchmarks.report import US
from benchmarks.subjects import CRITERION, Batch, image_network
from landscape import Objective, measure
from landscape.models import build_model
from landscape.operators import Hessian


class Stream:
    """``num_examples`` seeded rows of digits' shape in batches of 512, made anew in each pass and never kept."""

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, self.num_examples, 512):
            generator = torch.Generator().manual_seed(start)
            yield torch.rand(512, 1, 8, 8, generator=generator), torch.randint(10, (512,), generator=generator)


def product(tool: str) -> Callable[[], object]:
    """Three products with the Hessian of ResNet-18 on 32 images."""
    network = image_network("resnet18", 32)
    if tool == US:

        def ours() -> None:
            H = Hessian(network.objective())
            for _ in range(3):
                H @ torch.randn(H.shape[0])

        return ours
    return lambda: peers.pyhessian_trace(network, 3, seed=0)


def trace(num_examples: str, num_probes: str) -> Callable[[], object]:
    """So many Rademacher probes on the digits MLP over a stream of so many examples."""
    model = build_model("mlp", input_shape=(1, 8, 8), num_classes=10)

    def ours() -> object:
        objective = Objective(model, CRITERION, Stream(int(num_examples)))
        return measure.trace(objective, method="hutchinson", num_probes=int(num_probes))

    return ours


WORKS: dict[str, Callable[..., Callable[[], object]]] = {"product": product, "trace": trace}


def main() -> None:
    """Do the work that the arguments name."""
    torch.set_num_threads(1)
    name, *arguments = sys.argv[1:]
    work = WORKS[name](*arguments)
    with open("/proc/self/statm") as fields:
        before = int(fields.read().split()[1]) * resource.getpagesize()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak - before}))


if __name__ == "__main__":
    main()

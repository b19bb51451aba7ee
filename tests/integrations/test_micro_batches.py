"""What a pass may change of its micro-batch."""

from collections import UserDict
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from landscape.integrations.micro_batches import fresh


class Pair(NamedTuple):
    x: Tensor
    y: Any


@dataclass(frozen=True)
class Batch:
    x: Tensor
    y: Any


class Graph:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def clone(self) -> "Graph":
        return Graph(self.x.clone())


def test_containers_and_tensors_are_the_pass_s_own_at_any_depth() -> None:
    x, lock = torch.ones(2), Lock()
    given = [{"a": Pair(x, [x])}, UserDict({"b": Batch(x, (x,))}), Graph(x), lock, "text", None, 3]
    own = fresh(given)
    own[0]["a"].y[0].zero_()
    own[0]["a"].x.zero_()
    own[1]["b"].x.zero_()
    own[1]["b"].y[0].zero_()
    own[2].x.zero_()
    assert torch.equal(x, torch.ones(2))
    own[0]["a"].y.clear()
    del own[0]["a"], own[1]["b"]
    assert own[3:] == [lock, "text", None, 3]
    assert len(given[0]["a"].y) == len(given[1]) == 1
    assert fresh(torch.ones(2, requires_grad=True)).is_leaf

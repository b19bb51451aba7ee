"""How many tensors of the model's size are alive in a pass, beyond the weights, their gradient and the base's state."""

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import SGD, Optimizer

from landscape.optim import ASAM, CRSAM, GAM, RSAM, SAM

SHAPE = (17, 19)
BUFFERS: dict[str, tuple[Callable[[Optimizer], Optimizer], int, bool]] = {  # optimizer, buffers, with `loss`
    "sam": (SAM, 1, False),
    "asam": (ASAM, 1, False),
    "rsam": (RSAM, 2, False),
    "crsam": (CRSAM, 3, False),
    "gam hvp": (GAM, 2, True),
    "gam hvp sam": (lambda base: GAM(base, oracle="sam"), 2, True),
    "gam fd": (lambda base: GAM(base, mode="fd"), 4, False),
    "gam fd sam": (lambda base: GAM(base, mode="fd", oracle="sam"), 4, False),
    "gam accelerated": (lambda base: GAM(base, mode="accelerated"), 4, False),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_a_pass_holds_no_more_buffers_than_specified(name: str) -> None:
    make, num_buffers, with_loss = BUFFERS[name]
    w = nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)))
    optimizer = make(SGD([w], lr=0.1))
    alive = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    def loss() -> Tensor:
        alive.append(
            sum(issubclass(type(t), Tensor) and not is_lazy(t) and t.shape == SHAPE for t in gc.get_objects()) - 1
        )
        return w.square().square().sum()

    optimizer.step(closure, loss=loss if with_loss else None)
    assert max(alive) <= num_buffers

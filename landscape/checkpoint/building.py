"""Build the model that a file describes, which may ask for more than any memory holds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as registration


@contextmanager
def no_larger_than(state: Mapping[str, Any]) -> Iterator[None]:
    """Stop whoever builds a model in the body once it has more parameters than these weights. Raises ValueError."""
    entries = [value.numel() for value in state.values() if isinstance(value, Tensor)]
    found: dict[tuple[int, str], int] = {}

    def count(module: nn.Module, name: str, param: Any) -> None:
        found[id(module), name] = 0 if param is None else param.numel()
        if len(found) > 2 * len(entries) + 100 or sum(found.values()) > 10 * sum(entries) + 10**7:
            raise ValueError("it has many more parameters than the file")

    hook = registration.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()

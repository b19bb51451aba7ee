"""Which devices there are, and ``--device`` refused in words where it names another."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def devices() -> list[str]:
    """The names of the devices that this torch build can use here, cpu first."""
    import torch

    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return found + ["mps"] * torch.backends.mps.is_available()


def find_device(name: str) -> "torch.device":
    """The device called ``name``; "cuda" is the current one of its kind.

    Raises:
        ValueError: for a device that is not there, naming those that are.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    import torch

    present = devices()
    if name not in present and f"{name}:0" not in present:
        raise ValueError(f"--device {name} is not to be found. Expected one of: {', '.join(present)}.")
    return torch.device(name)

"""Errors of what is measured, which a metric reports as its reason instead of failing."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class MeasurementError(ArithmeticError):
    """What was asked cannot be computed here; a metric reports it as its reason instead of failing."""


class NonFiniteError(MeasurementError):
    """A loss, gradient or product is NaN or infinite; the message says where it began."""


class GradientError(MeasurementError):
    """Part of the model or the loss has no gradient in torch, while its value can be computed."""


@contextmanager
def gradient_errors() -> Iterator[None]:
    """Tell errors of autograd, and of backward functions of the user's, in one line: raise GradientError for them."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, MeasurementError):
        raise
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise GradientError(
            f"No gradient through part of the model or the loss: torch says {text!r}. Use operations there that "
            "torch.autograd.grad can differentiate; metrics of the loss alone need none."
        ) from error

"""Optimizers that look around the weights before they step: each wraps a torch optimizer and takes a closure."""

from landscape.optim.sam import SAM

__all__ = ["SAM"]

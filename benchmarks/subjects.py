"""What is measured: networks with their weights, batches of data, and what is known of them exactly."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape import Objective
from landscape.checkpoint import load_checkpoint
from landscape.data import load_data
from landscape.models import build_model
from landscape.training import Recipe, train

Batch = tuple[Tensor, Tensor]
CRITERION = nn.CrossEntropyLoss()


@dataclass
class Subject:
    """A network in eval mode and the batches over which its mean cross-entropy is the loss."""

    name: str
    model: nn.Module
    batches: list[Batch]

    def objective(self) -> Objective:
        """The loss as ours see it."""
        return Objective(self.model, CRITERION, self.batches)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is differentiated."""
        return list(self.model.parameters())

    def gradient(self) -> Sequence[Tensor]:
        """One gradient, the unit of cost: a bare forward and backward pass over all batches."""
        total: list[Tensor] = []
        for inputs, targets in self.batches:
            grads = torch.autograd.grad(CRITERION(self.model(inputs), targets), self.parameters)
            total = [t + g for t, g in zip(total, grads, strict=True)] if total else list(grads)
        return total


def digits_mlp(activation: str, num_batches: int = 1) -> Subject:
    """The 64-64-32-10 network trained by the default recipe on the digits, and all 1437 training examples."""
    with tempfile.TemporaryDirectory() as folder:
        path = train(Recipe(model_args={"activation": activation}), Path(folder) / "run")
        model = load_checkpoint(path).build_model()
    data = load_data("digits").train
    size = -(-len(data) // num_batches)
    return Subject(f"digits MLP 64-64-32-10 {activation}", model.eval(), list(data.batches(size)))


def images(num_examples: int, *, part: str = "train") -> tuple[Tensor, Tensor, str]:
    """CIFAR-10 images where LANDSCAPE_DATA names a folder that has them, random ones of their shape elsewhere."""
    if os.environ.get("LANDSCAPE_DATA"):
        split = getattr(load_data("cifar10"), part).sample(num_examples, seed=0)
        (batch,) = split.batches()
        return *batch, "CIFAR-10 images"
    generator = torch.Generator().manual_seed(int(part == "test"))
    inputs = torch.randn(num_examples, 3, 32, 32, generator=generator)
    return inputs, torch.randint(10, (num_examples,), generator=generator), "random images"


def image_network(name: str, num_examples: int, *, epochs: int = 0, **args: int) -> Subject:
    """A network of ours with seeded weights, trained for some epochs on 2048 images, and a batch of images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(name, input_shape=(3, 32, 32), num_classes=10, **args)
    if epochs:
        _train(model, epochs)
    inputs, targets, what = images(num_examples)
    sizes = ", ".join(f"{key} {value}" for key, value in args.items())
    trained = f"{epochs} epochs on 2048 of them" if epochs else "untrained"
    return Subject(
        f"{name}{f' ({sizes})' if sizes else ''}, {trained}, {num_examples} {what}", model.eval(), [(inputs, targets)]
    )


def _train(model: nn.Module, epochs: int) -> None:
    inputs, targets, _ = images(2048)
    generator = torch.Generator().manual_seed(0)
    num_steps = epochs * 16
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=num_steps)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs), generator=generator).split(128):
            optimizer.zero_grad()
            CRITERION(model(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
            schedule.step()
    optimizer.zero_grad()


class Exact:
    """The Hessian of a subject in float64 by plain double backward, sharing no code with any tool in the race."""

    def __init__(self, subject: Subject, dtype: torch.dtype = torch.float64) -> None:
        self.dtype, self.num_products = dtype, 0
        params = [p.detach().to(dtype).requires_grad_() for p in subject.parameters]
        self.params, self.sizes = params, [p.numel() for p in params]
        buffers = {name: b.to(dtype) if b.is_floating_point() else b for name, b in subject.model.named_buffers()}
        state = dict(zip([name for name, _ in subject.model.named_parameters()], params, strict=True)) | buffers
        self.num_examples = sum(len(targets) for _, targets in subject.batches)
        with sdpa_kernel(SDPBackend.MATH):
            summed = sum(
                nn.functional.cross_entropy(
                    torch.func.functional_call(subject.model, state, (inputs.to(dtype),)), targets, reduction="sum"
                )
                for inputs, targets in subject.batches
            )
            self.grads = torch.autograd.grad(summed / self.num_examples, params, create_graph=True)

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return sum(self.sizes)

    def product(self, v: Tensor) -> Tensor:
        """H v."""
        self.num_products += 1
        pieces = [part.view_as(p) for part, p in zip(v.split(self.sizes), self.params, strict=True)]
        found = torch.autograd.grad(self.grads, self.params, pieces, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in found])

    def top(self, k: int, tol: float = 1e-10) -> np.ndarray:
        """The k largest eigenvalues, descending, by ARPACK to ``tol``."""
        operator = LinearOperator(
            (self.size, self.size),
            matvec=lambda v: self.product(torch.from_numpy(v.reshape(-1).copy()).to(self.dtype)).numpy(),
            dtype=np.float64 if self.dtype == torch.float64 else np.float32,
        )
        start = np.random.default_rng(0).standard_normal(self.size)
        return np.sort(eigsh(operator, k=k, which="LA", tol=tol, v0=start, return_eigenvectors=False))[::-1]

    def trace_and_deviation(self) -> tuple[float, float]:
        """The trace, and the standard deviation of one Rademacher sample of it: d products."""
        trace = squares = diagonal = 0.0
        unit = torch.zeros(self.size, dtype=self.dtype)
        for i in range(self.size):
            unit[i] = 1
            column = self.product(unit)
            unit[i] = 0
            trace += column[i].item()
            diagonal += column[i].item() ** 2
            squares += column.dot(column).item()
        return trace, (2 * (squares - diagonal)) ** 0.5

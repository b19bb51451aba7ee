"""The other tools behind one shape: an operator of a subject, its products counted, its random draws seeded.

Every choice is in the peer's favour: checks that can be switched off are off; batches are of (nearly) equal size, as
one tool weighs a short batch like a full one; gradients left on the model are cleared first, as another adds them to
its Hessian; the attention kernel that has second derivatives is chosen for them.
"""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hessian_eigenthings as eigenthings
import numpy as np
import pyhessian
import torch
from curvlinops import HessianLinearOperator, hutchinson_trace, hutchpp_trace, xtrace
from hessian_eigenthings.operators.base import LambdaOperator
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.race import Found
from benchmarks.subjects import CRITERION, Subject

PYHESSIAN, CURVLINOPS, EIGENTHINGS = "PyHessian", "curvlinops", "hessian-eigenthings"
_pyhessian_module = importlib.import_module("pyhessian.hessian")


class CountedPyHessian(pyhessian.hessian):
    """PyHessian on the CPU, counting; given one batch it keeps the graph, given several it builds each anew."""

    def __init__(self, subject: Subject) -> None:
        subject.model.zero_grad()
        self.num_products = 0
        with _pyhessian_products(self):
            if len(subject.batches) == 1:
                super().__init__(subject.model, CRITERION, data=subject.batches[0], cuda=False)
            else:
                super().__init__(subject.model, CRITERION, dataloader=subject.batches, cuda=False)

    def dataloader_hv_product(self, v: list[Tensor]) -> tuple[float, list[Tensor]]:
        """One product over all batches."""
        self.num_products += 1
        return super().dataloader_hv_product(v)


@contextmanager
def _pyhessian_products(counter: CountedPyHessian) -> Iterator[None]:
    yield
    plain = _pyhessian_module.hessian_vector_product
    plain = getattr(plain, "plain", plain)

    def counted(*args: Any) -> Any:
        counter.num_products += 1
        return plain(*args)

    counted.plain = plain  # type: ignore[attr-defined]
    _pyhessian_module.hessian_vector_product = counted


def pyhessian_eigenvalues(subject: Subject, k: int, *, tol: float, max_iter: int, seed: int) -> Found:
    """Deflated power iteration; descending."""
    torch.manual_seed(seed)
    with sdpa_kernel(SDPBackend.MATH):
        tool = CountedPyHessian(subject)
        values, _ = tool.eigenvalues(maxIter=max_iter, tol=tol, top_n=k)
    return Found(np.sort(values)[::-1], tool.num_products)


def pyhessian_trace(subject: Subject, num_probes: int, *, seed: int) -> Found:
    """The samples of so many probes: with tol=-inf its own stopping rule, which fires far too early, never does."""
    torch.manual_seed(seed)
    tool = CountedPyHessian(subject)
    return Found(np.array(tool.trace(maxIter=num_probes, tol=-math.inf)), tool.num_products)


class _Counted:
    """A curvlinops operator that counts the columns it multiplies."""

    def __init__(self, subject: Subject) -> None:
        self.operator = HessianLinearOperator(
            subject.model,
            CRITERION,
            subject.parameters,
            subject.batches,
            check_deterministic=False,
            num_data=sum(len(targets) for _, targets in subject.batches),
        )
        self.shape, self.device, self.dtype = self.operator.shape, self.operator.device, self.operator.dtype
        self.num_products = 0

    def __matmul__(self, v: Tensor) -> Tensor:
        self.num_products += v.shape[1] if v.ndim == 2 else 1
        return self.operator @ v


def curvlinops_eigenvalues(subject: Subject, k: int, *, tol: float, seed: int) -> Found:
    """ARPACK by SciPy, as the documentation of curvlinops does it; descending."""
    with sdpa_kernel(SDPBackend.MATH):
        tool = _Counted(subject)

        def product(v: np.ndarray) -> np.ndarray:
            return (tool @ torch.from_numpy(v.reshape(-1).astype(np.float32))).detach().numpy()

        start = np.random.default_rng(seed).standard_normal(tool.shape[0]).astype(np.float32)
        operator = LinearOperator(tool.shape, matvec=product, dtype=np.float32)
        values = eigsh(operator, k=k, which="LA", tol=tol, v0=start, return_eigenvectors=False)
    return Found(np.sort(values)[::-1], tool.num_products)


CURVLINOPS_TRACES = {"hutchinson": hutchinson_trace, "hutch++": hutchpp_trace, "xtrace": xtrace}


def curvlinops_trace(subject: Subject, method: str, num_matvecs: int, *, seed: int, block: int | None = None) -> Found:
    """One of its estimators, a fixed number of products at once; or in runs of ``block``, whose mean is taken."""
    torch.manual_seed(seed)
    tool = _Counted(subject)
    runs = [block] * (num_matvecs // block) if block else [num_matvecs]
    value = np.mean([CURVLINOPS_TRACES[method](tool, run).item() for run in runs])
    return Found(value, tool.num_products)


class _CountedEigenthings(LambdaOperator):
    def __init__(self, subject: Subject) -> None:
        operator = eigenthings.HessianOperator(
            subject.model, subject.batches, eigenthings.supervised_loss(CRITERION), full_dataset=True
        )
        super().__init__(operator.matvec, operator.size, operator.device, operator.dtype)
        self.num_products = 0

    def matvec(self, v: Tensor) -> Tensor:
        self.num_products += 1
        return super().matvec(v)


def eigenthings_lanczos(subject: Subject, k: int, *, num_steps: int, seed: int) -> Found:
    """Lanczos with reorthogonalization, a fixed number of steps; descending."""
    with sdpa_kernel(SDPBackend.MATH):
        tool = _CountedEigenthings(subject)
        found = eigenthings.lanczos(tool, k=k, max_iter=num_steps, reorthogonalize=True, which="LA", seed=seed)
    return Found(found.eigenvalues.numpy(), tool.num_products)


def eigenthings_reports(subject: Subject, k: int, *, num_steps: int, tol: float, seed: int) -> bool:
    """Whether it says of each of the k that it converged to ``tol``."""
    with sdpa_kernel(SDPBackend.MATH):
        tool = _CountedEigenthings(subject)
        found = eigenthings.lanczos(tool, k=k, max_iter=num_steps, tol=tol, reorthogonalize=True, which="LA", seed=seed)
    return bool(found.converged.all())


def eigenthings_power(subject: Subject, k: int, *, tol: float, max_iter: int, seed: int) -> Found:
    """Deflated power iteration; descending."""
    with sdpa_kernel(SDPBackend.MATH):
        tool = _CountedEigenthings(subject)
        found = eigenthings.deflated_power_iteration(tool, k=k, max_iter=max_iter, tol=tol, seed=seed)
    return Found(found.eigenvalues.sort(descending=True).values.numpy(), tool.num_products)


def eigenthings_trace(subject: Subject, method: str, num_matvecs: int, *, seed: int) -> Found:
    """Hutchinson or Hutch++, a fixed number of products."""
    tool = _CountedEigenthings(subject)
    return Found(eigenthings.trace(tool, num_matvecs=num_matvecs, method=method, seed=seed), tool.num_products)

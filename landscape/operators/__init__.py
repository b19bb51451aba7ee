"""Curvature as operators: ``A @ v`` and ``A @ V`` over the parameters of an objective, never the matrix."""

from landscape.operators.exact_diagonal import (
    NoExactDiagonalError,
    exact_passes,
    gauss_newton_diagonal,
    gauss_newton_traces,
)
from landscape.operators.finite_difference import FiniteDifferenceHessian, InaccurateProductError
from landscape.operators.gauss_newton import EmpiricalFisher, GaussNewton
from landscape.operators.graph import ParameterOperator, Restricted, SecondDerivativeError
from landscape.operators.hessian import Hessian

__all__ = [
    "EmpiricalFisher",
    "FiniteDifferenceHessian",
    "GaussNewton",
    "Hessian",
    "InaccurateProductError",
    "NoExactDiagonalError",
    "ParameterOperator",
    "Restricted",
    "SecondDerivativeError",
    "exact_passes",
    "gauss_newton_diagonal",
    "gauss_newton_traces",
]

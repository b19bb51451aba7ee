"""What can be measured at a point of the landscape: one metric a file, all with the same shape.

    metric(objective, *, seed=0, rel_error=..., ...) -> Measurement

``METRICS`` holds them by name; ``analyze`` measures several, on one or more splits.
"""

from landscape.measure.accuracy import accuracy
from landscape.measure.analysis import analyze
from landscape.measure.average_sharpness import average_sharpness
from landscape.measure.first_order_flatness import first_order_flatness
from landscape.measure.gradient_curvature import gradient_curvature
from landscape.measure.gradient_norm import gradient_norm
from landscape.measure.lambda_max import lambda_max
from landscape.measure.lambda_min import lambda_min
from landscape.measure.layer_table import layer_table
from landscape.measure.local_minima import local_minima
from landscape.measure.loss import loss
from landscape.measure.metric import DEFAULT, METRICS
from landscape.measure.normalized_trace import normalized_trace
from landscape.measure.sam_ratio import sam_ratio
from landscape.measure.spectral_density import effective_dimension, negative_share, spectral_density
from landscape.measure.top_eigenvalues import top_eigenvalues
from landscape.measure.trace import trace
from landscape.measure.zeroth_order_flatness import zeroth_order_flatness

__all__ = [
    "DEFAULT",
    "METRICS",
    "accuracy",
    "analyze",
    "average_sharpness",
    "effective_dimension",
    "first_order_flatness",
    "gradient_curvature",
    "gradient_norm",
    "lambda_max",
    "lambda_min",
    "layer_table",
    "local_minima",
    "loss",
    "negative_share",
    "normalized_trace",
    "sam_ratio",
    "spectral_density",
    "top_eigenvalues",
    "trace",
    "zeroth_order_flatness",
]

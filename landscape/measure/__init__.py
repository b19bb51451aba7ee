"""What can be measured at a point of the landscape: one metric a file, all with the same shape.

    metric(objective, *, seed=0, rel_error=..., ...) -> Measurement

``METRICS`` holds them by name; ``analyze`` measures several, on one or more splits.
"""

from landscape.measure.accuracy import accuracy
from landscape.measure.analysis import analyze
from landscape.measure.gradient_norm import gradient_norm
from landscape.measure.lambda_max import lambda_max
from landscape.measure.lambda_min import lambda_min
from landscape.measure.layer_table import layer_table
from landscape.measure.loss import loss
from landscape.measure.metric import DEFAULT, METRICS
from landscape.measure.normalized_trace import normalized_trace
from landscape.measure.spectral_density import effective_dimension, negative_share, spectral_density
from landscape.measure.top_eigenvalues import top_eigenvalues
from landscape.measure.trace import trace

__all__ = [
    "DEFAULT",
    "METRICS",
    "accuracy",
    "analyze",
    "effective_dimension",
    "gradient_norm",
    "lambda_max",
    "lambda_min",
    "layer_table",
    "loss",
    "negative_share",
    "normalized_trace",
    "spectral_density",
    "top_eigenvalues",
    "trace",
]

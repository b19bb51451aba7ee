"""What can be measured at a point of the landscape: one metric a file, all with the same shape.

    metric(objective, *, seed=0, rel_error=..., ...) -> Measurement

``METRICS`` holds them by name; ``analyze`` measures several, on one or more splits. A new file in this folder with
a function under ``@metric(...)`` is a new metric: in ``analyze``, on the command, in tables, figures and the report.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from landscape.measure.analysis import analyze
from landscape.measure.metric import DEFAULT, METRICS

if TYPE_CHECKING:
    from landscape.measure.accuracy import accuracy as accuracy
    from landscape.measure.average_sharpness import average_sharpness as average_sharpness
    from landscape.measure.first_order_flatness import first_order_flatness as first_order_flatness
    from landscape.measure.gradient_curvature import gradient_curvature as gradient_curvature
    from landscape.measure.gradient_norm import gradient_norm as gradient_norm
    from landscape.measure.lambda_max import lambda_max as lambda_max
    from landscape.measure.lambda_min import lambda_min as lambda_min
    from landscape.measure.layer_table import layer_table as layer_table
    from landscape.measure.local_minima import local_minima as local_minima
    from landscape.measure.loss import loss as loss
    from landscape.measure.normalized_trace import normalized_trace as normalized_trace
    from landscape.measure.preconditioned_sharpness import preconditioned_sharpness as preconditioned_sharpness
    from landscape.measure.sam_ratio import sam_ratio as sam_ratio
    from landscape.measure.spectral_density import effective_dimension as effective_dimension
    from landscape.measure.spectral_density import negative_share as negative_share
    from landscape.measure.spectral_density import spectral_density as spectral_density
    from landscape.measure.top_eigenvalues import top_eigenvalues as top_eigenvalues
    from landscape.measure.trace import trace as trace
    from landscape.measure.zeroth_order_flatness import zeroth_order_flatness as zeroth_order_flatness

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
globals().update(METRICS)  # the function in the place of the file of the same name

__all__ = ["DEFAULT", "METRICS", "analyze", *METRICS]

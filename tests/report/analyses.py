"""Analyses and landscapes made up for the report's tests: every metric, nothing measured."""

from dataclasses import replace

import numpy as np

from landscape.results import Analysis, Measurement, Plane

RECIPE = {"optimizer": "sgd", "optimizer_args": {}, "lr": 0.1, "momentum": 0.9, "schedule": "cosine", "epochs": 5}
CONSTANT = RECIPE | {"schedule": "constant"}  # whose rate is known at every checkpoint
PLAIN = CONSTANT | {"momentum": 0.0}
HOSTILE = r"""$\nope$<script>window.pwned = 1</script>"'><img src=x onerror="window.pwned = 1">&amp; $"""


def full_analysis(**changes) -> Analysis:
    """Train and test with every metric that the report draws or reads, and more."""
    return replace(
        Analysis(
            {"train": _measurements(1.0), "test": _measurements(1.5)},
            objective={
                "num_examples": {"train": 1437, "test": 360},
                "num_params": 6570,
                "params": "*",
                "mode": "eval",
                "dtype": "float32",
            },
            provenance={
                "landscape": "0.1.0",
                "torch": "2.13.0",
                "seed": 7,
                "rel_error": 0.05,
                "command": "landscape analyze run/last.pt",
                "started": "2026-01-02T03:04:05+00:00",
                "seconds": 12.5,
            },
            checkpoint={
                "path": "run/last.pt",
                "sha256": "0123456789abcdef" * 4,
                "epoch": 5,
                "step": 115,
                "model": {"name": "mlp", "args": {"num_classes": 10}},
                "data": {"name": "digits", "args": {}},
                "recipe": RECIPE,
            },
        ),
        **changes,
    )


def with_measurement(m: Measurement, split: str = "train") -> Analysis:
    """The full analysis with one measurement in the place of another."""
    analysis = full_analysis()
    return replace(analysis, splits=analysis.splits | {split: analysis.splits[split] | {m.name: m}})


def bowl(split: str = "train", **details) -> Plane:
    """A plane that is steeper along its second axis."""
    x = np.linspace(-1, 1, 21)
    return Plane(x, x, 0.1 + x[:, None] ** 2 + 4 * x**2, None, split, {"directions": "random", **details})


def _measurements(scale: float) -> dict[str, Measurement]:
    ranks = np.arange(1, 51)
    x = np.linspace(-1, 6, 200)
    found = [
        Measurement("loss", 0.125 * scale, details={"data_std_error": 0.01}),
        Measurement("accuracy", 0.95, details={"data_std_error": 0.005}),
        Measurement("gradient_norm", 0.2 * scale, num_gradients=1),
        Measurement("trace", 30.0 * scale, 0.5, num_matvecs=64, reason="95 % interval +-0.033 within 0.05"),
        Measurement("lambda_max", 6.0 * scale, 0.1, num_matvecs=8, error_kind="bound"),
        Measurement("normalized_trace", 150.0, 2.5),
        Measurement("average_sharpness", 6.7e-6, 1.6e-7, details={"sigma": 6e-4}),
        Measurement(
            "effective_dimension", 360.0, 150.0, converged=False, reason="budget of 4 runs", details={"gamma": 0.01}
        ),
        Measurement("first_order_flatness", 0.02, 1e-8, details={"distance": 0.05}, error_kind="lower bound"),
        Measurement("lambda_min", -0.07, 0.003, error_kind="bound"),
        Measurement("sam_ratio", 0.97, 0.004, details={"num_flat_batches": 0}),
        Measurement("zeroth_order_flatness", 0.016, 1e-7, details={"distance": 0.05}, error_kind="lower bound"),
        Measurement("top_eigenvalues", 6.0, details={"eigenvalues": 6 / ranks, "bounds": 0.01 / ranks}),
        Measurement(
            "spectral_density",
            0.0046,
            0.0002,
            details={
                "log_eigenvalues": x,
                "log_density": np.exp(-((x - scale) ** 2)),
                "log_std_error": np.full(len(x), 1e-3),
                "log_threshold": 0.006,
            },
        ),
        Measurement(
            "layer_table",
            30.0,
            details={
                "layers": np.array(["linear1", "linear2"]),
                "num_params": np.array([6000, 570]),
                "trace": np.array([20.0, 10.0]),
                "trace_std_error": np.array([0.0, 0.25]),
                "share": np.array([2 / 3, 1 / 3]),
                "gradient_norm": np.array([0.1, 0.2]),
                "lambda_max": np.array([3.0, 1.0]),
                "lambda_max_error": np.array([0.1, 0.05]),
            },
        ),
        minima(raw=0.1, floor=4e-8),
        Measurement("a_metric_of_next_year", 1.0),
    ]
    return {m.name: m for m in found}


def minima(*, raw: float, floor: float) -> Measurement:
    """Counts along 10 lines that move the loss by 1e-4."""
    losses = np.linspace(0, 1e-4, 11) * np.ones((10, 1))
    counts = {"minima": np.zeros(10, int), "maxima": np.zeros(10, int), "raw_minima": np.full(10, raw)}
    return Measurement(
        "local_minima", 0.0, details={**counts, "floor": floor, "noise_expectation": 3.0, "losses": losses}
    )

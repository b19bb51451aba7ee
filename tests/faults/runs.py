"""A run with analyses, to write beside."""

from pathlib import Path
from typing import Any

from landscape.training import Recipe, train


def analyzed(out: Path, **recipe: Any) -> Path:
    """The folder of a small run with an analysis, and another in ``twin``."""
    from landscape import analyze, load_checkpoint
    from landscape.problem import Problem

    checkpoint = load_checkpoint(train(Recipe(model_args={"hidden": (4,)}, **recipe), out))
    found = analyze(Problem.of(checkpoint).objectives("train", num_samples=20), ["loss", "layer_table"])
    for folder in (out, out / "twin"):
        found.with_checkpoint(checkpoint.identity).save(folder)
    return out

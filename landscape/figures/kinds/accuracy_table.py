"""Test accuracy by model, optimizer and data (CurvSAM, table 1; CR-SAM, table 1)."""

from collections.abc import Sequence

from landscape.figures.kind import kind
from landscape.figures.pooled import Value, pooled, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.figures.table import Table


@kind("accuracy", needs="accuracy on test")
def accuracy(runs: Sequence[Run]) -> Table:
    """Test accuracy in %, a model and optimizer a row, a data set a column (CurvSAM table 1)."""
    runs = last_epochs(require(runs, "accuracy", split="test"))
    models, sets = ({_name(run, key): None for run in runs} for key in ("model", "data"))
    rows: list[list[str | Value]] = []
    for model in models:
        of_model = [run for run in runs if _name(run, "model") == model]
        for name, group in named(of_model, apart_from=["model", "data"]).items():
            cells = [pooled(run.get("accuracy", "test") for run in group if _name(run, "data") == one) for one in sets]
            percent = [Value(100 * v.value, 100 * v.error, v.num_seeds, v.converged) for v in cells]
            rows.append([model, name, *percent])
    return Table(
        ["model", "optimizer", *sets],
        rows,
        "Test accuracy in %.",
        dict.fromkeys(sets, "max") if len(models) == 1 else {},
    )


def _name(run: Run, key: str) -> str:
    return str((run.checkpoint.get(key) or {}).get("name", "–"))

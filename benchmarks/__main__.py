"""``python -m benchmarks``: run the rows, keep results/NAME/ROW.json, then write the tables and draw the picture.

A row that is run again replaces its file; the tables are of all files that are there, each with its own date.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import digits, growth, largest, residual, steps, stopping, surface, tracking
from benchmarks.picture import draw
from benchmarks.race import machine
from benchmarks.report import Row, load, markdown, save, write_into

HERE = Path(__file__).parent
ROWS: dict[str, Callable[[bool], Row]] = dict(
    sorted(
        (
            digits.ROWS
            | largest.ROWS
            | residual.ROWS
            | growth.ROWS
            | steps.ROWS
            | stopping.ROWS
            | surface.ROWS
            | tracking.ROWS
        ).items()
    )
)
PACKAGES = (
    "torch",
    "PyHessian",
    "curvlinops-for-pytorch",
    "hessian-eigenthings",
    "loss-landscapes",
    "pytorch-optimizer",
    "scipy",
)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions and seeds; nothing is kept in README.md"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch (default: 1; small networks gain nothing from two)"
    )
    parser.add_argument("--name", default="cpu", help="of the folder in results/ (default: cpu)")
    args = parser.parse_args()
    keys = args.rows.split(",")
    for key in keys:
        if key not in ROWS:
            parser.error(f"there is no row {key!r}. Expected some of: {', '.join(ROWS)}.")
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", "Using backward.. with create_graph=True")  # PyHessian's way
    folder = HERE / "results" / (f"{args.name}-quick" if args.quick else args.name)
    for key in keys:
        row, about = _run(key, quick=args.quick, threads=args.threads)
        save(row, folder / f"{key}.json", about)
        print(markdown([row]), _when(row, about), sep="\n", flush=True)
    measured = [load(path) for path in sorted(folder.glob("?.json"))]
    rows = [row for row, _ in measured]
    draw(rows, folder / "time-and-error")
    if not args.quick:
        machines = dict.fromkeys(_machine(about) for _, about in measured)
        write_into(HERE / "README.md", "\n".join([*machines, "", markdown(rows), *(_when(*one) for one in measured)]))


def _run(key: str, *, quick: bool, threads: int) -> tuple[Row, dict[str, Any]]:
    start, before = time.perf_counter(), machine()
    row = ROWS[key](quick)
    about = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "seconds": time.perf_counter() - start,
        "machine": before,
        "load_at_the_end": machine()["load"],
        "threads": threads,
        "quick": quick,
        "versions": {name: version(name) for name in PACKAGES},
    }
    return row, about


def _machine(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    machine = about["machine"]
    return f"{machine['cpu']}, {about['threads']} thread(s) of {machine['cores']} cores; {versions}."


def _when(row: Row, about: dict[str, Any]) -> str:
    return (
        f"- row {row.key}: {about['date']}, {about['seconds'] / 60:.1f} minutes, "
        f"load average {about['machine']['load'][0]} before and {about['load_at_the_end'][0]} after"
    )


if __name__ == "__main__":
    main()

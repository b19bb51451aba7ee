"""``python -m benchmarks``: run the rows, write results/NAME.json and the tables, draw the picture."""

import argparse
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import digits, growth, largest, residual, stopping
from benchmarks.picture import draw
from benchmarks.race import machine
from benchmarks.report import Row, markdown, save, write_into

HERE = Path(__file__).parent
ROWS: dict[str, Callable[[bool], Row]] = digits.ROWS | stopping.ROWS | largest.ROWS | growth.ROWS | residual.ROWS  # heavy last
PACKAGES = (
    "landscape-geometry",
    "torch",
    "PyHessian",
    "curvlinops-for-pytorch",
    "hessian-eigenthings",
    "loss-landscapes",
    "scipy",
)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions and seeds; nothing is written to README.md"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch (default: 1; small networks gain nothing from two)"
    )
    parser.add_argument("--name", default="cpu", help="of the files in results/ (default: cpu)")
    args = parser.parse_args()
    keys = args.rows.split(",")
    for key in keys:
        if key not in ROWS:
            parser.error(f"there is no row {key!r}. Expected some of: {', '.join(ROWS)}.")
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", "Using backward.. with create_graph=True")  # PyHessian's way
    started, before = time.perf_counter(), machine()
    rows = []
    for key in keys:
        start = time.perf_counter()
        rows.append(ROWS[key](args.quick))
        print(markdown(rows[-1:]), f"({time.perf_counter() - start:.0f} s)\n", sep="\n", flush=True)
    about = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "seconds": time.perf_counter() - started,
        "machine": before,
        "load_at_the_end": machine()["load"],
        "threads": args.threads,
        "quick": args.quick,
        "versions": {name: version(name) for name in PACKAGES if name != "landscape-geometry"},
    }
    name = f"{args.name}-quick" if args.quick else args.name
    save(rows, HERE / "results" / f"{name}.json", **about)
    draw(rows, HERE / "results" / f"{name}")
    if not args.quick and keys == list(ROWS):
        write_into(HERE / "README.md", _about(about) + "\n" + markdown(rows))


def _about(about: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['date']}, {about['machine']['cpu']}, "
        f"{about['threads']} thread(s) of {about['machine']['cores']} cores, "
        f"load average {about['machine']['load'][0]} before and {about['load_at_the_end'][0]} after, "
        f"{about['seconds'] / 60:.0f} minutes; {versions}.\n"
    )


if __name__ == "__main__":
    main()

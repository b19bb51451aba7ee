"""Train small networks, measure them, and draw every kind of figure that takes no study: the pictures beside this file.

    python reports/gallery/make.py [--cifar10 PATH]

Checkpoints and results go to runs/gallery and are made anew. Every step is a ``landscape`` command, and is printed.
"""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from landscape.figures import draw, load_runs, save
from landscape_cli.main import app

HERE = Path(__file__).resolve().parent
RUNS = Path("runs/gallery")
OPTIMIZERS = ("sgd", "sam", "gam")
METRICS = "default,sam_ratio,top_eigenvalues,spectral_density,layer_table,local_minima"
FEW = "--grid 31 --split train --samples 500"
SCREENS = {"desktop": (1280, 900, False), "phone": (390, 844, False), "dark": (1280, 900, True)}
_SMALL = 150_000  # bytes of a PDF that is kept


def landscape(command: str) -> None:
    """Run a command in this process; a metric that does not converge (exit code 4) is shown as such."""
    print(f"$ landscape {command}", flush=True)
    code = app(shlex.split(command), standalone_mode=False)
    if code not in (None, 0, 4):
        sys.exit(f"landscape {command}: exit code {code}")


def picture(kind: str, results: Sequence[Path], name: str = "", style: str = "paper") -> None:
    """Draw a kind as NAME.png, and NAME.pdf where that is small."""
    drawn = draw(kind, load_runs(results), style=style)
    assert isinstance(drawn, Figure)
    png, pdf = save(drawn, HERE / (name or kind), style=style)
    Image.open(png).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(png, optimize=True)
    if pdf.stat().st_size > _SMALL:
        pdf.unlink()


def screens(report: Path) -> None:
    """The report as a phone, a desktop and a dark desktop show it: its top, and its landscape."""
    from tests.report.chromium import Page, find_or_install

    executable, reason = find_or_install()
    if executable is None:
        print(f"No pictures of the report: {reason}")
        return
    with Page(executable) as browser:
        for name, (width, height, dark) in SCREENS.items():
            browser.open(report, width=width, height=height, dark=dark)
            for part, where in (("top", "html"), ("landscape", "#surfaces")):
                browser.run(f"document.querySelector('{where}').scrollIntoView()")
                browser.run("new Promise(done => setTimeout(done, 1500))")  # plotly draws
                path = HERE / f"report-{name}-{part}.png"
                browser.screenshot(path, whole=False)
                Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def main() -> None:
    """Make everything anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", metavar="PATH", help="where CIFAR-10 lies: adds a landscape of a network on it")
    cifar10 = parser.parse_args().cifar10
    start, results = time.perf_counter(), RUNS / "results"
    shutil.rmtree(RUNS, ignore_errors=True)
    for path in [*HERE.glob("*.png"), *HERE.glob("*.pdf")]:
        path.unlink()
    for name in OPTIMIZERS:
        landscape(f"train --model cnn --optimizer {name} --epochs 8 --checkpoint-every 1 --out {RUNS / name}")
        landscape(f"track {RUNS / name} --metrics loss,accuracy,trace,lambda_max,normalized_trace,sam_ratio")
    last = {name: RUNS / name / "last.pt" for name in OPTIMIZERS}
    all_of_them = " ".join(map(str, last.values()))
    sgd = last["sgd"]
    landscape(f"analyze {all_of_them} --metrics {METRICS} --samples 300 --out {results}")
    landscape(f"surface {all_of_them} --grid 31 --split train --out {results}")
    epochs = " ".join(str(path) for path in sorted((RUNS / "sgd").glob("epoch-*.pt")))
    landscape(f"surface {epochs} --directions pca {FEW} --out {RUNS / 'trajectory'}")
    landscape(f"surface {sgd} --line --directions to:{last['sam']} --span 2 --out {RUNS / 'line'}")
    landscape(f"surface {sgd} --directions to:{last['sam']},{last['gam']} {FEW} --out {RUNS / 'three'}")
    landscape(f"surface {sgd} --directions eigen --span 0.5 {FEW} --out {RUNS / 'eigen'}")
    landscape(f"surface {sgd} --refine {FEW} --out {RUNS / 'refined'}")

    of_each = [results / name / "last" for name in OPTIMIZERS]
    for kind in ("landscapes", "landscapes-3d", "spectrum", "top-eigenvalues", "layers", "comparison", "extrema"):
        picture(kind, of_each)
    for kind in ("curves", "ratio", "optimizers"):
        picture(kind, [RUNS / name for name in OPTIMIZERS])
    for name in ("trajectory", "line", "three", "eigen", "refined"):
        picture({"trajectory": "trajectory", "line": "lines"}.get(name, "landscapes"), [RUNS / name], name)
    picture("landscapes", of_each, "landscapes-slides", "slides")
    picture("spectrum", of_each, "spectrum-dark", "dark")
    screens(of_each[1] / "report.html")
    if cifar10:
        data = f"cifar10:{cifar10}"
        landscape(f"train --recipe cifar10-subset --data {data} --model cnn --epochs 3 --out {RUNS / 'cifar10'}")
        landscape(
            f"surface {RUNS / 'cifar10/last.pt'} --grid 25 --samples 500 --split train --out {RUNS / 'on-cifar10'}"
        )
        picture("landscapes-3d", [RUNS / "on-cifar10"], "cifar10")
    size = sum(path.stat().st_size for path in HERE.iterdir()) / 2**20
    print(f"{len(list(HERE.glob('*.png')))} pictures, {size:.1f} MiB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

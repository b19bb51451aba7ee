"""What the figures of the committed results hold, as numbers and as small pictures.

    python -m tests.figures.golden      writes tests/figures/golden.json and landscape/figures/kinds/thumbnails anew

Look at the thumbnails after that, and at the difference of golden.json. The results are digits runs of SGD and SAM
(``landscape train``, 10 epochs, two seeds; ``landscape analyze --metrics all``; for the track 6 epochs, lr 0.05, one
seed, ``landscape track``), without what no figure reads.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import Collection, LineCollection, PolyCollection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from PIL import Image

from landscape.figures import KINDS, draw, load_runs
from landscape.figures.kinds.style import styled
from landscape.figures.kinds.table import Table

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
THUMBNAILS = HERE.parents[1] / "landscape" / "figures" / "kinds" / "thumbnails"
FOLDERS = {
    "accuracy": ["periods"],
    "comparison": ["spectra"],
    "curves": ["epochs"],
    "extrema": ["spectra"],
    "geometry": ["epochs"],
    "heat-map": ["grid"],
    "landscapes": ["planes", "spectra"],
    "landscapes-3d": ["planes", "spectra"],
    "layers": ["spectra"],
    "layer-table": ["spectra"],
    "lines": ["lines", "spectra"],
    "optimizers": ["epochs"],
    "ratio": ["epochs"],
    "spectrum": ["spectra"],
    "speed": ["periods"],
    "top-eigenvalues": ["spectra"],
    "track": ["track"],
    "trajectory": ["path", "spectra"],
    "update-frequency": ["periods"],
}
_DPI = 60


def drawn(kind: str) -> Figure | Table:
    """The kind from its committed results."""
    return draw(kind, load_runs(HERE / "results" / folder for folder in FOLDERS[kind]))


def data_of(figure: Figure | Table) -> Any:
    """Everything in it that came from the results: curves, bars, bands, images, texts."""
    if isinstance(figure, Table):
        return {"csv": figure.csv(), "markdown": figure.markdown(), "latex": figure.latex()}
    panels = [_panel(axes) for axes in figure.axes]
    legends = [text.get_text() for legend in figure.legends for text in [*legend.get_texts(), legend.get_title()]]
    return {"panels": panels, "legend": legends, "title": figure.get_suptitle()}


def picture(figure: Figure) -> Image.Image:
    """A small picture of it, in few colours."""
    out = io.BytesIO()
    with styled():
        figure.savefig(out, format="png", dpi=_DPI)
    return Image.open(out).convert("RGB")


def _panel(axes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "x": [axes.get_xlabel(), axes.get_xscale()],
        "y": [axes.get_ylabel(), axes.get_yscale()],
        "title": axes.get_title(),
        "texts": [text.get_text() for text in axes.texts],
        "lines": [_numbers(np.array(line.get_data())) for line in axes.lines],
        "bars": [_numbers(patch.get_bbox().extents) for patch in axes.patches if isinstance(patch, Rectangle)],
        "stairs": [_numbers(patch.get_data().values) for patch in axes.patches if isinstance(patch, StepPatch)],
        "images": [_numbers(image.get_array()) for image in axes.images],
        "collections": [_numbers(_points(one)) for one in axes.collections if not isinstance(one, QuadMesh)],
    }
    return {key: value for key, value in found.items() if value}


def _points(collection: Collection) -> np.ndarray:
    if isinstance(collection, Poly3DCollection):
        return np.asarray(collection.get_facecolor())  # its losses, as colours
    if isinstance(collection, LineCollection) and not isinstance(collection, ContourSet):
        segments = collection.get_segments()
        return np.concatenate(segments) if segments else np.empty((0, 2))
    if isinstance(collection, PolyCollection | ContourSet):
        return np.concatenate([path.vertices for path in collection.get_paths()])
    return np.empty((0, 2))


def _numbers(values: Any) -> list[Any]:
    """Few of many: the shape, and the sums against which a change of any entry shows."""
    array = np.ma.filled(np.ma.asarray(values, dtype=float), -1.0)
    if array.size > 60:
        weights = np.linspace(1, 2, array.size)
        array = np.array([*array.shape, np.nansum(array), np.nansum(array.ravel() * weights)])
    return [float(f"{value:.6g}") for value in array.ravel()]


def main() -> None:
    """Write the golden numbers and the thumbnails anew."""
    THUMBNAILS.mkdir(exist_ok=True)
    found = {}
    for kind in KINDS:
        figure = drawn(kind)
        found[kind] = data_of(figure)
        if isinstance(figure, Table):
            (THUMBNAILS / f"{kind}.md").write_text(figure.markdown() + "\n", encoding="utf-8")
        else:
            picture(figure).quantize(64).save(THUMBNAILS / f"{kind}.png", optimize=True)
    lines = ",\n".join(f"{json.dumps(kind)}: {json.dumps(data)}" for kind, data in found.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The one style of our figures, and how they reach the disk.

Figures are plain ``matplotlib.figure.Figure`` objects: no pyplot, no window, and the user's backend and settings are
left as they are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}


@contextmanager
def style() -> Iterator[None]:
    """Run the body with our style on top of matplotlib's defaults, whatever the user's settings."""
    with as_file(files("landscape.figures") / "style.mplstyle") as path, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc_file(path, use_default_template=False)
        yield


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Write STEM.png (300 dpi) and STEM.pdf, each whole or not at all; the same figure gives the same bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [path.name for path in save_figure(Figure(), Path(directory) / "empty")]
        ['empty.png', 'empty.pdf']
    """
    paths = [Path(f"{stem}.{kind}") for kind in _METADATA]
    with style():
        for path, (kind, metadata) in zip(paths, _METADATA.items(), strict=True):
            part = path.with_name(path.name + ".part")
            try:
                figure.savefig(part, format=kind, metadata=metadata)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    return paths

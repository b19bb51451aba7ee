"""The text of a Python file and of what it imports of one's own code, as hashes: what a problem file says.

Imports are read from the text, wherever they stand, as is a ``"NAME.py"`` that lies beside the file. One's own is what
lies in the folder of the file, or what Python finds elsewhere than among the installed packages. Names of files are
relative to that folder, so that it can be moved.
"""

import ast
import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from landscape.content import digest

_INSTALLED = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
_PACKAGES = ("site-packages", "dist-packages")
_OURS = ("landscape", "landscape_cli")
_LONGEST = 200  # characters of a string that may be the name of a file
_DYNAMIC = ("import_module", "__import__")


def sources(file: Path) -> dict[str, str]:
    """The hash of the text of a file under its name, and of each that it imports, directly or not, under theirs.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mine.py").write_text("import numpy, parts.net")
        ...     Path(folder, "parts").mkdir()
        ...     _ = Path(folder, "parts", "net.py").write_text("WIDTH = 3")
        ...     list(sources(Path(folder, "mine.py")))
        ['mine.py', 'parts/net.py']
    """
    file = file.resolve()
    names, found = {file: file.name}, {}
    for path in (to_read := [file]):
        text = path.read_bytes()
        found[names[path]] = digest(text)
        for name, place in sorted(_imported(path, text, file.parent)):
            if place not in names:
                names[place] = name
                to_read.append(place)
    return {name: found[name] for name in sorted(found, key=lambda name: (name != file.name, name))}


def _imported(path: Path, text: bytes, top: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of what a text imports."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):  # what is no Python imports nothing
        return
    beside = [path.parent, top]
    for node in nodes:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from _files(alias.name, beside, top)
            case ast.ImportFrom(module=module, names=names, level=level):
                places = [path.parents[level - 1]] if 0 < level <= len(path.parents) else beside
                for alias in names:
                    yield from _files(f"{module or ''}.{alias.name}".strip("."), places, top)
            case ast.Call(
                func=ast.Attribute(attr=called) | ast.Name(id=called), args=[ast.Constant(value=str(name)), *_]
            ):
                if called in _DYNAMIC:
                    yield from _files(name.strip("."), beside, top)
            case ast.Constant(value=str(name)) if name.endswith(".py") and len(name) < _LONGEST and name.isprintable():
                yield from ((_name(one, top, top), one.resolve()) for one in (p / name for p in beside) if _is_own(one))


def _files(name: str, places: list[Path], top: Path) -> Iterator[tuple[str, Path]]:
    """The files that make up a module: itself, and the packages that it is in."""
    first, *rest = name.split(".")
    if not first.isidentifier() or first in _OURS:
        return
    for place in [*places, *_found(first)]:
        modules = [place.joinpath(first, *rest[:length]) for length in range(len(rest) + 1)]
        files = [one for module in modules for one in (module.with_name(f"{module.name}.py"), module / "__init__.py")]
        if own := [one for one in files if _is_own(one)]:
            yield from ((_name(one, place, top), one.resolve()) for one in own)
            return


def _found(first: str) -> list[Path]:
    """The folders in which Python would find a module, which is not imported for that."""
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    folders = [Path(folder).parent for folder in spec.submodule_search_locations or ()]
    return folders or ([Path(spec.origin).parent] if spec.origin else [])


def _is_own(path: Path) -> bool:
    path = path.resolve()
    installed = any(part in _PACKAGES for part in path.parts) or any(path.is_relative_to(one) for one in _INSTALLED)
    return path.is_file() and not installed


def _name(path: Path, place: Path, top: Path) -> str:
    return os.path.relpath(path, top if path.is_relative_to(top) else place)

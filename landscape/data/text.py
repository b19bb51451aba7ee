"""Text in files of UTF-8: one text, one a line, or the rows of a table with a header, separated by commas or tabs.

    PATH                                a file, the split "train" if its name begins so, else "test"
    PATH/train*.SUFFIX, PATH/test*...   both; val* or validation* instead of test*

What a reader returns is text: numbers are made of it by the tokenizer of a model (``landscape.huggingface.data``).
"""

import csv
import io
from pathlib import Path

from landscape.data.places import DataError, places, read_first, reading
from landscape.reading import open_file

_TRAIN, _TESTS = "train", ("test", "val", "eval", "dev")
_AGAIN = "Save it in UTF-8, whole."
_LONGEST = 2**31 - 1  # characters of a field


def text_files(name: str, path: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The file of each split; of those with one of the suffixes in a folder.

    Raises:
        DataError: there is nothing, or more than one file for a split.
    """
    _, found = read_first(name, places(name, path), lambda place: _files(place, suffixes), _expected(suffixes))
    return found


def read_whole(path: Path) -> str:
    """The text of a file, its lines ending as Python's own do. Raises DataError where it is none, or empty."""
    with reading(path, _AGAIN), open_file(path) as file:
        text = file.read().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{path}: holds no text.")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a file that are not blank. Errors as ``read_whole``."""
    return [line for line in read_whole(path).split("\n") if line.strip()]


def read_table(path: Path) -> dict[str, list[str]]:
    r"""The columns of a table by their names in its first line.

    Raises:
        DataError: it is no table, or a row has another number of fields.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.csv").write_text('text,label\n"one, two",1\n')
        ...     read_table(Path(folder, "a.csv"))
        {'text': ['one, two'], 'label': ['1']}
    """
    text = read_whole(path)
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    plain = [line.split("\t") for line in text.split("\n") if line]
    limit = csv.field_size_limit(_LONGEST)
    try:
        quoted = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except csv.Error as error:
        quoted = []
        reason = str(error)
    finally:
        csv.field_size_limit(limit)
    if len(quoted) < len(plain) and separator == "\t" and len({len(row) for row in plain}) == 1:
        quoted = plain  # whose quotes are text, as in the files of GLUE
    if not quoted:
        raise DataError(
            f"{path}: is no table ({reason}). Expected fields between commas or tabs, in quotes if need be."
        )
    header, *rows = quoted
    if len(set(header)) < len(header):
        raise DataError(f"{path}: names two columns alike: {', '.join(header)[:200]}. Give each a name of its own.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} fields. Expected {len(header)}, as the header names.")
    if not rows:
        raise DataError(f"{path}: has no rows below its header {', '.join(header)[:200]}.")
    return {name.strip(): list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)}


def _files(place: Path, suffixes: tuple[str, ...]) -> dict[str, Path] | None:
    if place.is_file():
        return {_TRAIN if place.name.startswith(_TRAIN) else "test": place}
    if not place.is_dir():
        return None
    found: dict[str, Path] = {}
    for split, starts in ((_TRAIN, (_TRAIN,)), ("test", _TESTS)):
        for start in starts:
            files = [file for suffix in suffixes for file in sorted(place.glob(f"{start}*{suffix}"))]
            if len(files) > 1:
                raise DataError(f"{place}: has {files[0].name} and {files[1].name}. Give the path of one of them.")
            if files and split not in found:
                found[split] = files[0]
    return found or None


def _expected(suffixes: tuple[str, ...]) -> str:
    return f"a file, or a folder with train*{suffixes[0]} and test*{suffixes[0]}."

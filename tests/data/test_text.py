"""Text as Python reads it, and tables as their writers meant them."""

import csv
import io

import pytest

from landscape.data import DataError
from landscape.data.text import read_lines, read_table, read_whole


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_in_pythons_own_files(tmp_path, end):
    """However a system ends them; and at no other sign that Unicode counts among line breaks."""
    lines = ["the cat", "sat\u2028on", "the\x0cmat\x85and"]
    (tmp_path / "a.txt").write_bytes(end.join([*lines, ""]).encode("utf-8-sig"))
    with (tmp_path / "a.txt").open(encoding="utf-8-sig") as file:
        assert read_whole(tmp_path / "a.txt") == file.read()
    assert read_lines(tmp_path / "a.txt") == lines


def written(rows, **how):
    text = io.StringIO(newline="")
    csv.writer(text, **how).writerows(rows)
    return text.getvalue()


ROWS = [["text", "label"], ['a "b", c', "0"], ["d\ne, f", "1"]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (written(ROWS), ROWS[1:]),
        (written(ROWS, delimiter="\t"), ROWS[1:]),
        ('text\tlabel\n"so it\t0\nbegins"\t1\n', [['"so it', "0"], ['begins"', "1"]]),  # quotes as in GLUE's files
        ('text\tlabel\n"so" it\t0\n', [['"so" it', "0"]]),
    ],
)
def test_tables(tmp_path, content, expected):
    (tmp_path / "a.csv").write_bytes(content.encode())
    table = read_table(tmp_path / "a.csv")
    assert [list(row) for row in zip(table["text"], table["label"], strict=True)] == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,text,label\na,b,0\n", "names two columns alike: text, text, label"),
        ('text;label\n"a, b";0\n', "is no table .*between commas or tabs"),
        ('text,label\n"a,0\n', "is no table .unexpected end of data"),
    ],
)
def test_what_is_no_table(tmp_path, content, says):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "a.csv")

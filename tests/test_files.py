"""A file is there whole or not at all, whoever writes and whatever happens; a line is there once its break is."""

import hashlib
import json
import math
import os
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from landscape.files import append_line, whole, write_document, write_text
from landscape.readers import read_arrays, read_document, read_lines


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_name_is_taken_only_when_all_is_written(tmp_path):
    path = tmp_path / "made" / "a.txt"
    with whole(path) as part:
        part.write_text("new")
        assert part.parent == path.parent
        assert (part.name[0], part.suffix, path.exists()) == (".", ".tmp", False)
    assert (path.read_text(), names(path.parent)) == ("new", ["a.txt"])


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = write_text(tmp_path / "a.txt", "old")

    def write() -> None:
        with whole(path) as part:
            part.write_text("ne")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert (path.read_text(), names(tmp_path)) == ("old", ["a.txt"])


def test_line_breaks_are_left_alone(tmp_path):
    assert write_text(tmp_path / "a.txt", "é\r\nb\n").read_bytes() == "é\r\nb\n".encode()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o007])
def test_it_has_the_mode_of_a_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
        (tmp_path / "b.txt").write_text("b")
    finally:
        os.umask(before)
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt"))
    assert ours == plain == 0o666 & ~umask


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_the_target_is_replaced(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.txt", tmp_path / "link.txt"
    if there:
        target.write_text("old")
    (tmp_path / "again.txt").symlink_to(target)
    link.symlink_to("again.txt")
    write_text(link, "new")
    assert link.is_symlink()
    assert (target.read_text(), target.is_symlink(), names(target.parent)) == ("new", False, ["target.txt"])


def test_what_is_no_file_is_refused_and_left(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        listening.bind("socket")
    before = {name: (tmp_path / name).lstat().st_ino for name in names(tmp_path)}
    for name in before:
        with pytest.raises(OSError, match=f"{name}: is (a folder|no regular file), and is not replaced. Expected a f"):
            write_text(tmp_path / name, "new")
    with pytest.raises(OSError, match="/dev/null: is no regular file"):
        write_text(Path("/dev/null"), "new")
    assert {name: (tmp_path / name).lstat().st_ino for name in names(tmp_path)} == before


def write_often(path: Path, text: str) -> None:
    for _ in range(10):
        write_text(path, text)


def begin_to_write(path: Path) -> None:
    with whole(path) as part:
        part.write_text("ne")
        time.sleep(60)


def append(path: Path, row: object) -> None:
    with path.open("a+b") as file:
        append_line(file, row)


def append_often(path: Path, first: int) -> None:
    for number in range(30):
        append(path, [first, number, "x" * 500])


@pytest.mark.slow
def test_two_processes_that_write_one_file_do_not_meet(tmp_path, processes):
    path, texts = tmp_path / "a.txt", ["a" * 300_000, "b" * 200_000]
    write_text(path, texts[0])

    writers = [processes.Process(target=write_often, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in texts
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_file(tmp_path, processes):
    path = write_text(tmp_path / "a.txt", "old")
    writer = processes.Process(target=begin_to_write, args=(path,))
    writer.start()
    while len(names(tmp_path)) == 1:
        time.sleep(0.005)
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert write_text(path, "new").read_text() == "new"


def test_a_document_and_its_arrays_are_replaced_together(tmp_path):
    paths = tmp_path / "a.json", tmp_path / "a.npz"
    write_document(paths[0], {"schema": "s/1", "a": math.nan}, (paths[1], {"x": [1.0]}))
    before = [path.read_bytes() for path in paths]
    document = read_document(paths[0], "s/1", "a test")
    sha256 = hashlib.sha256(before[1]).hexdigest()
    assert document == {"schema": "s/1", "a": None, "arrays": {"file": "a.npz", "sha256": sha256}}
    assert read_arrays(paths[1], document=document)["x"].tolist() == [1.0]
    for document, arrays in (({"a": {1, 2}}, {"x": [2.0]}), ({"a": 1}, {"x": [object()]})):  # neither can be written
        with pytest.raises((TypeError, ValueError)):
            write_document(paths[0], document, (paths[1], arrays))
        assert [path.read_bytes() for path in paths] == before
    assert names(tmp_path) == ["a.json", "a.npz"]


def test_a_document_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"a.json: No such file or directory. Expected a directory written by a test"):
        read_document(path, "s/1", "a test")
    for text, message in (
        ("{", r"a.json: not valid JSON \(.*\). Try harder."),
        ("[]", "a.json: schema is 'list'. Expected 's/1'."),
        ('{"schema": "s/2"}', "a.json: schema is 's/2'. Expected 's/1'."),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_document(path, "s/1", "a test", "Try harder.")


def test_a_torn_last_line_is_no_row_and_is_cut_off_wherever_it_was_torn(tmp_path):
    path, rows = tmp_path / "a.jsonl", [{"n": 1, "é": [1, 2]}, {"n": 2, "words": "and\nso — on"}]
    for row in rows:
        append(path, row)
    content = path.read_bytes()
    assert (content.count(b"\n"), read_lines(path)) == (2, rows)
    start = content.index(b"\n") + 1
    for size in range(start, len(content)):
        path.write_bytes(content[:size])
        assert read_lines(path) == rows[:1]
        append(path, rows[1])
        assert path.read_bytes() == content
    for size in range(start):
        path.write_bytes(content[:size])
        assert read_lines(path) == []
        append(path, 3)
        assert path.read_bytes() == b"3\n"


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    path.write_text('{"schema": "s/1"}\n\n{"sche\n{"schema": "s/1"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl: line 3 is not valid JSON. Remove it, or move the file away."):
        read_lines(path)
    path.write_text('{"schema": "s/1"}\n{"schema": "s/2"}\n')
    assert len(read_lines(path)) == 2
    with pytest.raises(ValueError, match=r"a.jsonl: the schema of line 2 is 's/2'. Expected 's/1'."):
        read_lines(path, "s/1")


@pytest.mark.slow
def test_two_processes_that_append_lose_no_row(tmp_path, processes):
    path = tmp_path / "a.jsonl"
    writers = [processes.Process(target=append_often, args=(path, first)) for first in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(row[:2] for row in read_lines(path)) == [[i, j] for i in (1, 2) for j in range(30)]
    assert all(json.loads(line) for line in path.read_text().splitlines())

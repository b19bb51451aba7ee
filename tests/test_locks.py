"""A folder has one writer: a second one is refused at once, whatever became of the first; nothing of it stays."""

import errno
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from landscape import locks
from landscape.files import whole, write_text
from landscape.locks import writing


def hold(folder: Path, what: str = "results") -> None:
    with writing(folder, what):
        (folder / "held").touch()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path, processes):
    """A process that holds the lock of a folder."""
    process = processes.Process(target=hold, args=(tmp_path,))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.005)
    yield process
    process.kill()
    process.join()


def test_the_second_is_told_who_is_writing_and_waits_for_nothing(tmp_path, holder):
    start = time.monotonic()
    words = rf"{tmp_path} is being written by another process: .* \(process {holder.pid} on .*, since 20.*\)\. Wait "
    with pytest.raises(ValueError, match=words), writing(tmp_path):
        pass
    assert time.monotonic() - start < 1
    with writing(tmp_path, "training"):  # a run is tracked while it trains
        pass


def test_nothing_is_held_by_the_dead(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert (tmp_path / ".landscape.lock").exists()
    with writing(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["held"]


def test_what_a_lock_says_is_shown_and_not_obeyed(tmp_path, holder):
    lock = tmp_path / ".landscape.lock"
    for text, words in (
        ("", "another process. Wait"),
        ("[1]", "another process. Wait"),
        ("{", "another process. Wait"),
    ):
        lock.write_text(text)
        with pytest.raises(ValueError, match=words), writing(tmp_path):
            pass
    lock.write_text('{"pid": 1, "host": "h", "command": "\\u001b[31mred", "since": "now"}')
    shown = r"another process: \\x1b\[31mred \(process 1 on h, since now\)"
    with pytest.raises(ValueError, match=shown), writing(tmp_path):
        pass


def test_a_thread_may_come_again_and_another_may_not(tmp_path):
    refused = []

    def other() -> None:
        try:
            with writing(tmp_path):
                pass
        except ValueError as error:
            refused.append(error)

    with writing(tmp_path), writing(tmp_path / ".." / tmp_path.name):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert os.listdir(tmp_path) == [".landscape.lock"]
    assert len(refused) == 1
    assert os.listdir(tmp_path) == []


def test_folders_in_which_nothing_was_written_do_not_stay(tmp_path):
    with pytest.raises(RuntimeError), writing(tmp_path / "a" / "b"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with writing(tmp_path / "a" / "b"):
        write_text(tmp_path / "a" / "b" / "c", "c")
    assert os.listdir(tmp_path / "a" / "b") == ["c"]


@pytest.mark.parametrize("below", [False, True])
def test_a_file_is_no_folder(tmp_path, below):
    write_text(tmp_path / "file", "file")
    folder = tmp_path / "file" / "below" if below else tmp_path / "file"
    with pytest.raises(ValueError, match=r"file.*: is a file, or lies below one. Expected a folder"), writing(folder):
        pass


def test_a_lock_is_a_file_of_its_own(tmp_path):
    target = write_text(tmp_path / "target", "mine")
    lock = tmp_path / "folder" / ".landscape.lock"
    lock.parent.mkdir()
    makers = {
        "link": lambda: lock.symlink_to(target),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
    }
    for make in makers.values():
        make()
        with pytest.raises(OSError, match=r"\.landscape\.lock|regular"), writing(lock.parent):
            pass
        lock.rmdir() if lock.is_dir() else lock.unlink()
    assert target.read_text() == "mine"


def test_without_locks_it_goes_on_and_leaves_the_files_of_others(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    leftover = tmp_path / ".a.txt.0123456789ab.tmp"
    leftover.touch()
    with writing(tmp_path):
        write_text(tmp_path / "a.txt", "a")
    assert sorted(os.listdir(tmp_path)) == [leftover.name, "a.txt"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    others = [".a.tmp", "a.0123456789ab.tmp", ".a.0123456789aX.tmp", ".a.txt.0123456789ab.tmp.bak"]
    for name in (*others, ".a.txt.0123456789ab.tmp", ".last.pt.ba9876543210.tmp"):
        (tmp_path / name).touch()
    folder, link = tmp_path / ".f.0123456789ab.tmp", tmp_path / ".l.0123456789ab.tmp"
    folder.mkdir()
    link.symlink_to(others[0])
    with whole(tmp_path / "b.txt") as part, writing(tmp_path):  # and one that is being written stays
        part.write_text("b")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, folder.name, link.name, "b.txt"])


def test_a_file_whose_part_is_taken_away_is_begun_again(tmp_path, monkeypatch):
    """A cleaner may come between the making of a part and its lock."""
    lock, taken = locks.lock, []

    def after_a_cleaner(file, *, wait):
        if not taken:
            taken.append(next(tmp_path.glob(".*.tmp")).unlink())
        return lock(file, wait=wait)

    monkeypatch.setattr(locks, "lock", after_a_cleaner)
    assert write_text(tmp_path / "a.txt", "a").read_text() == "a"
    assert taken


def test_sockets_and_devices_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(".s.0123456789ab.tmp")
        os.mkfifo(".p.0123456789ab.tmp")
        with writing(tmp_path):
            pass
    assert len(os.listdir(tmp_path)) == 2

"""Files that ask for more than they hold are refused, or read, at once and in little more room than they take."""

import io
import multiprocessing
import resource
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.reading import FileError
from landscape_cli.inspect import inspect

from .kinds import small
from .kinds.greedy import GREEDY
from .kinds.kind import quiet
from .watched import listing, watched

pytestmark = pytest.mark.slow
SECONDS, MIB = 10, 160  # of the processor; beyond twice the file
ROOM = 2 * 2**30  # that a reader gone wrong may have, before the system stops it


def load(path):
    load_checkpoint(path).load_into(small(2))


def show(path):
    with redirect_stdout(io.StringIO()):
        inspect(path, json=True)


def used():
    """Seconds of the processor so far, and the most memory so far in MiB."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime, found.ru_maxrss / 1024


def run(act, path, answer):
    """Do it in a process of its own, and tell how that went."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    warnings.simplefilter("ignore")
    seconds, mib = used()
    with watched() as done:
        try:
            act(path)
            said = ""
        except (FileError, OSError) as error:
            told = isinstance(error, CheckpointError) or act is show  # the command tells all of them likewise
            said = f"{'' if told else 'foreign: '}{error}"
        except BaseException as error:
            said = f"foreign: {type(error).__name__}: {error}"
    answer.send((said[:1000], done, used()[0] - seconds, used()[1] - mib))


@pytest.mark.parametrize("act", [load, show])
@pytest.mark.parametrize("name", GREEDY)
def test_it_takes_no_more_than_it_holds(name, act, tmp_path):
    with quiet():
        path = GREEDY[name](tmp_path)
    there = listing(tmp_path)
    size = sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())
    context = multiprocessing.get_context("fork")
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(act, path, theirs))
    with quiet():
        process.start()
    theirs.close()
    assert answer.poll(60), "it hangs"
    try:
        said, done, seconds, mib = answer.recv()
    except EOFError:
        said, done, seconds, mib = f"foreign: it was stopped after {SECONDS} s", [], SECONDS, 0
    process.kill()
    process.join()
    assert not said.startswith("foreign"), said
    assert done == []
    assert listing(tmp_path) == there
    assert mib < 2 * size / 2**20 + MIB, f"{mib:.0f} MiB and {seconds:.1f} s for {size / 2**20:.1f} MiB: {said}"
    assert not said or path.name in said, said

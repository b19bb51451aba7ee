"""One torch thread per test process and its children: pytest-xdist already runs one process a core."""

import multiprocessing
import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported, which is after this file

# What children of the tests that kill them import, once: a process has one fork server, and the first use starts it.
# The first of them is what torch's first optimizer imports, for most of a second.
_PRELOADED = ["torch._dynamo", "landscape.training", "landscape.tracking", "landscape.surface", "tests.cases"]
_PRELOADED += ["landscape.studies", "landscape_cli.main"]


@pytest.fixture
def processes():
    """Processes to kill, which start in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context

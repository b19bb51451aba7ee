import os
import subprocess
import sys

import pytest

import landscape as library

from .command import landscape

COMMANDS = (
    "demo",
    "train",
    "analyze",
    "track",
    "surface",
    "figures",
    "compare",
    "reproduce",
    "arena",
    "inspect",
    "doctor",
)
REPORT_IMPORTS = """
import atexit
atexit.register(lambda: print([m for m in ("torch", "numpy", "pandas", "matplotlib") if m in sys.modules]))
"""


def raising(statement: str) -> str:
    """Code that adds the command ``boom``, whose body is the statement."""
    return f"@app.command()\ndef boom() -> None:\n    {statement}\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        (("--version",), 0),
        (("--help",), 0),
        *(((command, "--help"), 0) for command in COMMANDS),
        (("frobnicate",), 2),
        (("train",), 2),
        (("train", "--out", "x", "--epochs", "many"), 2),
        (("inspect", "--nonsense"), 2),
    ],
)
def test_help_and_mistakes_do_not_wait_for_torch(arguments, code):
    done = landscape(*arguments, code=REPORT_IMPORTS)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "[]"
    if code:
        assert done.stdout == "[]\n"
        assert done.stderr.startswith("landscape: error: ")
        assert done.stderr.endswith(" --help.\n")
        assert done.stderr.count("\n") == 1
    else:
        assert done.stderr == ""


def test_alone_it_says_what_it_is_and_three_commands_to_try():
    done = landscape()
    assert "curvature and sharpness" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("  landscape ")]) == 3


def test_version():
    assert landscape("--version").stdout == f"landscape {library.__version__}\n"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_help_opens_with_two_commands_to_copy(command):
    done = landscape(*([command] if command else []), "--help")
    assert max(map(len, done.stdout.splitlines())) <= 80
    before_options = done.stdout[: done.stdout.index("─ ")]
    start = f"landscape {command}" if command else "landscape "
    examples = [line.strip() for line in before_options.splitlines() if line.strip().startswith(start)]
    assert len(examples) == 2
    assert ("--traceback" in done.stdout) == (command is None)


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("raise ValueError('k is 3. Expected 2.')", 2, "k is 3. Expected 2."),
        ("raise FileNotFoundError(2, 'No such file', 'a.json')", 3, "a.json: No such file."),
        ("from landscape.checkpoint import CheckpointError; raise CheckpointError('a.pt: is no')", 3, "a.pt: is no"),
        ("from landscape.data import DataError; raise DataError('a.npz: is missing.')", 3, "a.npz: is missing."),
        ("raise ArithmeticError('training diverged')", 1, "training diverged"),
        (
            "raise RuntimeError('first line\\nsecond')",
            1,
            "RuntimeError: first line second (add --traceback to see where)",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(statement, code, message):
    done = landscape("boom", code=raising(statement))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"landscape: error: {message}\n")


@pytest.mark.parametrize(
    ("kind", "code", "arguments"),
    [("ValueError", 2, ("--traceback", "boom")), ("RuntimeError", 1, ("boom", "--traceback"))],
)
def test_traceback_shows_where(kind, code, arguments):
    done = landscape(*arguments, code=raising(f"raise {kind}('here')"))
    assert done.returncode == code
    assert "Traceback (most recent call last)" in done.stderr
    assert f"{kind}: here" in done.stderr


def test_an_interrupt_is_130():
    done = landscape("boom", code=raising("raise KeyboardInterrupt"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "landscape: interrupted\n")


def test_a_warning_is_one_line_on_stderr():
    done = landscape("boom", code=raising("import warnings; warnings.warn('rho is ignored')"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "landscape: warning: rho is ignored\n")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("doctor", "--json")])
def test_nobody_reading_is_no_error_to_speak_of(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "landscape_cli.main", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.stderr == ""

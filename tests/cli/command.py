"""The command as a user runs it: another process, its exit code and what it printed."""

import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from landscape_cli.main import main


def landscape(*arguments: str, cwd: Path | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``landscape ARGUMENTS``; ``code`` runs first in the same process, and may add a command to ``app``."""
    program = f"import sys\nfrom landscape_cli.main import app, main\n{code}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, encoding="utf-8", timeout=300
    )


def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run ``landscape ARGUMENTS`` in this process, which has torch imported; what is no exit of its own is raised."""
    monkeypatch.setattr(sys, "argv", ["landscape", *map(str, arguments)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        signal.signal(signal.SIGTERM, terminate)
    return subprocess.CompletedProcess(sys.argv, stop.value.code or 0, *capsys.readouterr())

"""What the README says to type works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


IN_FRAMEWORKS = [block for block in BLOCKS if re.match(r"import (accelerate|lightning|torch, transformers)", block)]


@pytest.mark.parametrize("block", IN_FRAMEWORKS, ids=[block.split("\n")[0] for block in IN_FRAMEWORKS])
def test_blocks_for_frameworks_run_alone(block, tmp_path):
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in BLOCKS:
        if block not in IN_FRAMEWORKS:
            exec(block, namespace)
    assert (tmp_path / "results" / "analysis.json").exists()
    printed = capsys.readouterr().out
    assert "lambda_max" in printed
    assert "Measurement(" in printed or "trace = " in printed


def test_a_checkpoint_of_somebody_else(tmp_path):
    mine = next(block for block in BLOCKS if block.startswith("# mine.py"))
    (tmp_path / "mine.py").write_text(mine)
    namespace = {}
    exec(mine, namespace)
    torch.save(namespace["problem"]()[0].state_dict(), tmp_path / "theirs.pt")
    command = "analyze theirs.pt --problem mine.py:problem --metrics loss,accuracy"
    assert command.rsplit(" --metrics", 1)[0] in README
    done = subprocess.run(
        [sys.executable, "-m", "landscape_cli.main", *command.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_files_of_the_map_exist():
    root = Path(__file__).parent.parent
    block = README.split("## File map")[1].split("```")[1]
    names = re.findall(r"\b[\w/]+(?:\.py|/)(?=\s)", block)
    assert len(names) > 10
    for name in names:
        assert (root / name).exists() or (root / "landscape" / name).exists(), name

"""A reader that goes away (| head) stops what only prints, quietly, and not the work that leaves files."""

import subprocess
import sys
from pathlib import Path

import pytest

from landscape.training import Recipe, train

pytestmark = pytest.mark.slow

STUDY = Path(__file__).parent / "tiny_study.py"
PROGRAM = "from landscape_cli.main import main; main()"
SMALL = ["--set", "model_args.hidden=[4]", "--set", "data_args.num_train=100", "--epochs", "2"]


@pytest.fixture(scope="module")
def last(tmp_path_factory) -> Path:
    return train(Recipe(epochs=1, model_args={"hidden": (4,)}), tmp_path_factory.mktemp("run"))


def piped(arguments: list[str], reader: str, both: str = "", cwd: Path | None = None) -> tuple[list[int], str]:
    """The exit codes of ``landscape ARGUMENTS | READER``, and what was said on stderr."""
    words = " ".join(f"'{word}'" for word in [sys.executable, "-c", PROGRAM, *arguments])
    script = f"{words} {both} | {reader}; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, cwd=cwd)
    return [int(code) for code in done.stdout.splitlines()[-1].split()], done.stderr


@pytest.mark.parametrize("both", ["", "2>&1"])
@pytest.mark.parametrize(
    ("arguments", "code", "made"),
    [
        (["train", *SMALL, "--track", "loss"], 0, "track.csv"),
        (["reproduce", str(STUDY)], 0, "README.md"),
        (["analyze", "LAST", "--metrics", "loss", "--json"], 0, "analysis.json"),
        (["surface", "LAST", "--grid", "3"], 0, "surface.json"),
        (["track", "RUN", "--metrics", "loss", "--fail-above", "loss=0.001"], 4, "track.jsonl"),
    ],
)
def test_work_that_leaves_files_goes_on_to_its_own_exit_code(last, tmp_path, arguments, code, made, both):
    places = {"LAST": str(last), "RUN": str(last.parent)}
    out = tmp_path / "out"
    codes, said = piped([*(places.get(word, word) for word in arguments), "--out", str(out)], "true", both)
    assert codes[0] == code
    assert (out / made).exists()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@pytest.mark.parametrize(
    "arguments", [["analyze", "LAST", "--metrics", "loss"], ["inspect", "LAST"], ["train", "--list"]]
)
def test_what_only_prints_ends_quietly(last, arguments):
    codes, said = piped([str(last) if word == "LAST" else word for word in arguments], "true")
    assert codes[0] in (0, 1)
    assert said == ""


def test_an_output_that_cannot_be_written_is_told(last):
    words = [sys.executable, "-c", PROGRAM, "inspect", str(last)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (3, "landscape: error: standard output: No space left on device.\n")

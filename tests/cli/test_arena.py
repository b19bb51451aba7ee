"""``landscape arena``: what is refused before anything is trained, in one line that names the option."""

import pytest

from .command import here


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--optimizers", "sgd,sma"], "--optimizers sma is unknown"),
        (["--reference", "sma"], "--reference sma is unknown"),
        (["--optimizers", "sam"], "has nothing to compare"),
        (["--grid", "0.1"], "is no grid"),
        (["--grid", "0,0.1"], "is no grid"),
        (["--seeds", "1"], "--seeds 1 is out of range"),
        (["--metrics", "trace,accuracy"], "--metrics accuracy is compared as it is, on test"),
        (["--metrics", "lambda_min"], "--metrics lambda_min may be 0 or less"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(monkeypatch, capsys, tmp_path, options, words) -> None:
    done = here(monkeypatch, capsys, "arena", "digits-150", *options, "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""Arguments that several subcommands share, in the same words: what to measure, on what, and where."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Checkpoints = Annotated[list[Path], Argument(metavar="CKPT", help="Checkpoints, state dicts or .safetensors.")]
Split = Annotated[str, Option(metavar="NAME", help="train, test or both.")]
Samples = Annotated[int | None, Option(metavar="N", help="Stratified sample of each split.")]
Seed = Annotated[int, Option(metavar="N", help="Of all random draws.")]
Dtype = Annotated[str | None, Option(metavar="TYPE", help="float32 or float64.", show_default="the model's")]
Model = Annotated[str | None, Option(metavar="NAME", help="Where the file does not say: mlp, cnn, resnet18, ...")]
Data = Annotated[str | None, Option(metavar="NAME", help="Where the file does not say: digits, cifar10:PATH, ...")]
ProblemFile = Annotated[
    str | None, Option(metavar="FILE.py:FUNCTION", help="Your own: it returns (model, loss, {split: batches}).")
]
Json = Annotated[bool, Option("--json", help="Print one JSON document.")]
Device = Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, mps.")]

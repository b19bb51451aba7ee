"""Options that several subcommands share, and what is made of them: devices, dtypes, folders."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

if TYPE_CHECKING:
    import torch

    from landscape.checkpoint import Checkpoint

_NAMED = 20  # of what a file holds beside, in a warning
Checkpoints = Annotated[list[Path], Argument(metavar="CKPT", help="Checkpoints: files or folders, anybody's.")]
Metrics = Annotated[str, Option(metavar="A,B", help="Names, or default, or all.")]
Split = Annotated[str, Option(metavar="NAME", help="train, test or both; validation, where the run has one.")]
Set = Annotated[
    list[str] | None,
    Option(
        "--set", metavar="METRIC.ARG=X", help="Any argument of a metric: sam_ratio.rho=0.1, trace.method=hutchinson."
    ),
]
Protocol = Annotated[
    str | None, Option(metavar="NAME", help="papers: arguments as they measured, below those of --set.")
]
Samples = Annotated[int | None, Option(metavar="N", help="Stratified sample of each split.")]
RelError = Annotated[float, Option(metavar="X", help="Accuracy at which estimates stop: 0.05 is 5 %.")]
NumProbes = Annotated[int | None, Option(metavar="N", help="Fixed number of probes for traces.")]
Seed = Annotated[int, Option(metavar="N", help="Of all random draws.")]
Dtype = Annotated[str | None, Option(metavar="TYPE", help="float32 or float64.", show_default="the model's")]
Layers = Annotated[str, Option(metavar="GLOB", help="Parameters to measure: 'conv*,head.weight'.")]
Model = Annotated[str | None, Option(metavar="NAME", help="Where the file does not say: mlp, cnn, resnet18, ...")]
Data = Annotated[
    str | None,
    Option(metavar="NAME", help="Where the file does not say: digits, cifar10:PATH, ...; text:FILE, csv:FILE, ..."),
]
Context = Annotated[
    int | None,
    Option(metavar="N", help="Tokens a block of text.", show_default="the model's, up to 1024"),
]
ProblemFile = Annotated[
    str | None, Option(metavar="FILE.py:FUNCTION", help="Your own: it returns (model, loss, {split: batches}).")
]
Mode = Annotated[
    str | None,
    Option(
        metavar="MODE",
        help="eval; train; reestimate: eval, with BatchNorm statistics of the training split.",
        show_default="the problem's, or eval",
    ),
]
Key = Annotated[str | None, Option(metavar="A.B", help="Where in the file the weights are, if not in the usual place.")]
Trust = Annotated[
    bool,
    Option("--trust-checkpoint", help="Run what the file says, as whole pickled modules need; recorded in the result."),
]
Json = Annotated[bool, Option("--json", help="Print one JSON document.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Write over results of another checkpoint or other settings.")]
DryRun = Annotated[bool, Option("--dry-run", help="Say what it would cost, by timing a little of it, and stop.")]
Device = Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, mps.")]


def read_checkpoints(paths: Sequence[Path], key: str | None = None, trust: bool = False) -> "list[Checkpoint]":
    """Read them, and say on stderr which weights were taken of several, and what was left out."""
    from landscape.checkpoint import load_checkpoint
    from landscape.text import first_few

    files = [load_checkpoint(path, key=key, trust=trust) for path in paths]
    for file in files:
        if file.others:
            taken, others = file.key or "the file itself", first_few(file.others, _NAMED)
            warnings.warn(f"{file.path}: the weights are those of {taken}; --key takes {others}.", stacklevel=2)
        if file.left_out:
            warnings.warn(f"{file.path}: left out, as it is not run: {first_few(file.left_out, _NAMED)}.", stacklevel=2)
    return files


def listing(what: str, show: Callable[[], None]) -> Any:
    """The option --list: it prints what can be named, with ``show``, and stops."""

    def callback(asked: bool) -> None:
        if asked:
            show()
            raise Exit

    return Option("--list", is_eager=True, callback=callback, help=f"Print {what}; stop.")


def names_in(text: str) -> list[str]:
    """The names in a list with commas.

    Example:
        >>> names_in("trace, lambda_max")
        ['trace', 'lambda_max']
    """
    return [name.strip() for name in text.split(",")]


def devices() -> list[str]:
    """The names of the devices that this torch build can use here, cpu first."""
    import torch

    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return found + ["mps"] * torch.backends.mps.is_available()


def find_device(name: str) -> "torch.device":
    """The device called ``name``; "cuda" is the current one of its kind.

    Raises:
        ValueError: for a device that is not there, naming those that are.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    import torch

    present = devices()
    if name not in present and f"{name}:0" not in present:
        raise ValueError(f"--device {name} is not to be found. Expected one of: {', '.join(present)}.")
    return torch.device(name)


def find_dtype(name: str | None) -> "torch.dtype | None":
    """The torch dtype called ``name``, None for None. Raises ValueError for another than float32 and float64."""
    import torch

    dtypes = {None: None, "float32": torch.float32, "float64": torch.float64}
    if name not in dtypes:
        raise ValueError(f"--dtype {name} is not supported. Expected float32 or float64.")
    return dtypes[name]


def find_folders(out: Path | None, checkpoints: Sequence[Path]) -> Sequence[Path | None]:
    """Where the results of each checkpoint go: --out, or below it as the checkpoints lie to each other; None without.

    Raises:
        ValueError: where two of them would go to one folder.
    """
    if out is None or len(checkpoints) == 1:
        return [out] * len(checkpoints)
    paths = [path.absolute().with_suffix("") for path in checkpoints]
    top = os.path.commonpath([path.parent for path in paths])
    found = [out / path.relative_to(top) for path in paths]
    for index, folder in enumerate(found):
        if (first := found.index(folder)) < index:
            raise ValueError(f"{checkpoints[first]} and {checkpoints[index]} would both be written to {folder}.")
    return found


@contextmanager
def writing_all(folders: Sequence[Path | None]) -> Iterator[None]:
    """Keep others from writing into the folders, which are made; errors as ``landscape.locks.writing``."""
    from landscape.locks import writing

    with ExitStack() as stack:
        for folder in folders:
            if folder is not None:
                stack.enter_context(writing(folder))
        yield

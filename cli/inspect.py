"""``landscape inspect``: what a checkpoint file or folder holds, without running anything in it."""

import gc
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from . import options
from .console import print_json, print_line, print_table, print_text

_NUM_NAMED = 20  # of ties, and of what stands beside the weights


def inspect(
    checkpoint: Annotated[Path, Argument(metavar="CKPT", help="A checkpoint: a file, a folder, an index of shards.")],
    key: options.Key = None,
    values: Annotated[
        bool | None,
        Option("--values/--no-values", help="Read the weights too: hash, norms, NaN. By default up to 64 MiB."),
    ] = None,
    write_problem: Annotated[
        Path | None, Option(metavar="FILE.py", help="Draft the problem file that analyze needs, from the names.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Say what a checkpoint holds, without running anything in it, and what analyze would need beside it.

    [bold]landscape inspect runs/sgd/last.pt[/]
    [bold]landscape inspect theirs.safetensors --write-problem mine.py[/]
    """
    from landscape.checkpoint.describe import describe

    gc.disable()  # of many thousand tensors, none is garbage, and looking for it takes a third of the time
    try:
        facts = describe(checkpoint, key=key, values=values)
    finally:
        gc.enable()
    if write_problem is not None:
        from landscape.checkpoint.draft import write_draft

        write_draft(write_problem, facts)
    if json:
        print_json(facts)
        return
    _print(facts)
    if write_problem is not None:
        print_line(
            f"Drafted: {write_problem}. Fill it in, then: landscape analyze CKPT --problem {write_problem}:problem"
        )


def _print(facts: dict[str, Any]) -> None:
    tensors = facts.pop("tensors")
    for name, value in facts.items():
        line = f"{name:<11} {_listed(value) if isinstance(value, list) else _words(value)}"
        if isinstance(value, dict):
            print_text(line, indent=12)
        elif value not in (None, "", []):
            print_line(line)
    header, rows = ["tensor", "shape", "dtype"], []
    for one in tensors:
        row = [one["name"], " × ".join(map(str, one["shape"])) or "scalar", one["dtype"]]
        if "norm" in one:
            bad = ", ".join(f"{one[f'num_{kind}']} {kind}" for kind in ("nan", "inf") if one[f"num_{kind}"])
            row += [f"{one['norm']:.6g}", bad]
        rows.append(row)
    print_table([*header, "norm", ""] if tensors and "norm" in tensors[0] else header, rows, num_left=3)


def _listed(values: list[Any]) -> str:
    named = [" = ".join(one) if isinstance(one, list) else str(one) for one in values[:_NUM_NAMED]]
    return ", ".join(named) + (f" and {len(values) - _NUM_NAMED} more" if len(values) > _NUM_NAMED else "")


def _words(value: Any) -> str:
    if not isinstance(value, dict):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    if value.keys() == {"name", "args"}:
        return f"{value['name']}({_words(value['args'])})"
    return ", ".join(f"{name}={_words(item)}" for name, item in value.items() if item != {})

"""``landscape demo``: SGD and SAM on real digits from the same start, both measured, and what the numbers show.

OUT/sgd/, OUT/sam/           last.pt, metrics.csv, analysis.json, arrays.npz
OUT/comparison.png and .pdf  the same numbers as a figure
OUT/NEXT.txt                 what to try next; also the sign that the folder is a demo's, so that it may be redone
"""

import shlex
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from .console import cell, print_notes, print_table, print_text, progress

if TYPE_CHECKING:
    from landscape.results import Analysis
    from landscape.results.difference import Difference, State
    from landscape.training import Recipe

_RUNS = {"SGD": "sgd", "SAM": "sam"}  # by the name in the table: the optimizer, which is also the folder
_SIGN = "# Written by landscape demo, which redoes this folder when it is run again. To try next:\n"


def demo(
    out: Annotated[Path, Option(metavar="DIR", help="Folder to write; that of an earlier demo is redone.")] = Path(
        "landscape-demo"
    ),
    seed: Annotated[int, Option(metavar="N", help="Of weights, order of examples, and probes.")] = 0,
) -> None:
    """Train SGD and SAM on real digits, measure both, and say what the numbers show.

    [bold]landscape demo[/]
    [bold]landscape demo --seed 1 --out landscape-demo-1[/]
    """
    from landscape.figures import compared

    analyses = train_and_measure(out, seed=seed)
    objective = analyses["SGD"].objective
    examples = " and ".join(f"{n:,} {split}" for split, n in objective["num_examples"].items())
    print_text(
        f"One network (mlp, {objective['num_params']:,} parameters), trained twice on the digits from the same "
        f"start (seed {seed}): with SGD and with SAM. Measured over all {examples} examples."
    )
    print()
    rows = compared(analyses)
    table = [
        [row.metric, row.split, *(cell(m) for m in row.values.values() if m), _words(row.differences["SAM"])]
        for row in rows
    ]
    print_table(["", "", *_RUNS, "SAM against SGD"], table, num_left=2)
    print_notes(analyses)
    print_text("In brackets: within the 95 % error bars, which do not tell the two apart.")
    print("\nWhat it shows:")
    for line in summary({(row.metric, row.split): row.differences["SAM"].state for row in rows}, *_RUNS):
        print_text(f"- {line}", indent=2)
    print_text(
        "- The error bars are those of measuring, and on loss and accuracy of having so few examples. They do not say "
        "how much one training differs from the next, and this is one seed.",
        indent=2,
    )
    print(f"\nThe figure is {out / 'comparison.png'}. To try next:")
    for command in _next_commands(out):
        print(f"  {command}")


def _words(found: "Difference") -> str:
    """In brackets where it is no more than the error."""
    return f"({found.size})" if found.state == "not told apart" and found.change else found.size


def summary(states: "Mapping[tuple[str, str], State]", first: str, second: str) -> list[str]:
    """What the states of all differences, by (metric, split), come to in a few lines; of runs of these names."""
    by_state: dict[str, dict[str, list[str]]] = {}
    for (metric, split), state in states.items():
        by_state.setdefault(state, {}).setdefault(metric, []).append(split)
    lines = []
    for state in ("lower", "higher", "not told apart", "not measured"):
        if found := by_state.get(state):
            lead = f" with {second}, beyond the error bars" if state in ("lower", "higher") else ""
            listed = ", ".join(f"{metric} ({', '.join(splits)})" for metric, splits in found.items())
            lines.append(f"{state.capitalize()}{lead}: {listed}.")
    of_both = {states.get((metric, "train")) for metric in ("trace", "lambda_max")}
    flatter = second if of_both == {"lower"} else first if of_both == {"higher"} else f"neither {first} nor {second}"
    return [*lines, f"By trace and lambda_max on the training data, {flatter} found the flatter place."]


def train_and_measure(out: Path, *, seed: int, **recipe: Any) -> dict[str, "Analysis"]:
    """Write the folder of a demo and return its analyses; files there that are not a demo's are left alone.

    Raises:
        ValueError: where no demo wrote the files that this one would replace, or another is at it.
    """
    from landscape.figures import comparison, save_figure
    from landscape.locks import writing
    from landscape.measure import DEFAULT
    from landscape.training import Recipe

    recipes = {name: Recipe(optimizer=optimizer, seed=seed, **recipe) for name, optimizer in _RUNS.items()}
    done = count(1)
    with writing(out), progress("Demo", sum(one.epochs + 2 * len(DEFAULT) for one in recipes.values())) as tell:
        _make_room(out)
        analyses = {
            name: _train_and_measure(one, out / one.optimizer, lambda text: tell(next(done), text))
            for name, one in recipes.items()
        }
        save_figure(comparison(analyses), out / "comparison")
    return analyses


def _make_room(out: Path) -> None:
    """Remove the files of an earlier demo, and no others."""
    from landscape.files import write_text

    sign = out / "NEXT.txt"
    in_run = ("last.pt", "metrics.csv", "analysis.json", "arrays.npz")
    paths = [out / "comparison.png", out / "comparison.pdf"]
    paths += [out / folder / file for folder in _RUNS.values() for file in in_run]
    there = [path for path in paths if path.exists()]
    ours = sign.is_file() and sign.read_text(encoding="utf-8", errors="replace").startswith(_SIGN)
    if not ours and (there or sign.exists()):
        found = there[0] if there else sign
        raise ValueError(f"{found} exists, and no demo wrote it. Expected a new folder: landscape demo --out ANOTHER.")
    write_text(sign, _SIGN + "\n".join(_next_commands(out)) + "\n")
    for path in there:
        path.unlink()


def _train_and_measure(recipe: "Recipe", folder: Path, tell: Callable[[str], None]) -> "Analysis":
    from landscape import analyze, load_checkpoint
    from landscape.measure import DEFAULT
    from landscape.problem import Problem
    from landscape.training import train

    last = train(recipe, folder, on_epoch=lambda row: tell(f"{recipe.optimizer}: loss {row['train_loss']:.4f}"))
    checkpoint = load_checkpoint(last)
    analysis = analyze(
        Problem.of(checkpoint).objectives(),
        DEFAULT,
        seed=recipe.seed,
        progress=lambda split, metric: tell(f"{recipe.optimizer}: {metric} on {split}"),
    )
    analysis = analysis.with_checkpoint(checkpoint.identity)
    analysis.save(folder)
    return analysis


def _next_commands(out: Path) -> list[str]:
    return [
        shlex.join(["landscape", *words])
        for words in (
            ["inspect", str(out / "sam" / "last.pt")],
            ["analyze", str(out / "sam" / "last.pt"), "--metrics", "lambda_max", "--rel-error", "0.001"],
            ["train", "--optimizer", "sam", "--rho", "0.2", "--out", str(out / "sam-rho-0.2")],
        )
    ]

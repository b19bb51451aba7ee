"""``landscape train``: train a network and leave checkpoints that say what they hold."""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from landscape.text import printable

from . import options
from .console import print_json, print_line, print_table, progress

if TYPE_CHECKING:
    from torch import nn

    from landscape.data import Split
    from landscape.tracking import Tracker
    from landscape.training import Recipe


def _print_names() -> None:
    """Print what can be named, a line each."""
    from landscape.data import DATA
    from landscape.models import MODELS
    from landscape.training import OPTIMIZERS, optimizer_args, recipe_names

    def first_line(builder: Any) -> str:
        return (getattr(builder, "func", builder).__doc__ or "").strip().partition("\n")[0]

    tables = {
        ("models", ""): {name: first_line(builder) for name, builder in MODELS.items()},
        ("data", ""): {name: first_line(reader) for name, reader in DATA.items()},
        ("optimizers", "optimizer_args"): {name: ", ".join(optimizer_args(name)) for name in OPTIMIZERS},
        ("recipes", ""): recipe_names(),
    }
    for header, rows in tables.items():
        print_table(header, rows.items(), num_left=2)
        print()
    print("Every set of images NAME is also there as NAME-c, its test part corrupted: see --set.")


def train(
    out: Annotated[Path, Option(metavar="DIR", help="Folder of the run: last.pt and metrics.csv.")],
    recipe: Annotated[
        str | None, Option(metavar="NAME|FILE", help="Where to begin; all that is below goes on top of it.")
    ] = None,
    model: Annotated[
        str | None, Option(metavar="NAME", help="mlp (the default), cnn, resnet18, vit-small, ...")
    ] = None,
    data: Annotated[str | None, Option(metavar="NAME", help="digits (the default), cifar10:PATH, ...")] = None,
    optimizer: Annotated[str | None, Option(metavar="NAME", help="sgd (the default), adamw, sam, ...")] = None,
    epochs: Annotated[int | None, Option(metavar="N", help="Passes over the data; 60 by default.")] = None,
    lr: Annotated[float | None, Option(metavar="X", help="The largest learning rate; 0.1 by default.")] = None,
    momentum: Annotated[float | None, Option(metavar="X", help="Of SGD, alone or as a base; 0.9 by default.")] = None,
    weight_decay: Annotated[float | None, Option(metavar="X", help="On all parameters; 0.0005 by default.")] = None,
    rho: Annotated[
        str | None, Option(metavar="X", help="Radius of SAM's ball, 0.05 by default; or sqrt-lr, of the rate's root.")
    ] = None,
    batch_size: Annotated[int | None, Option(metavar="N", help="Examples a step; 64 by default.")] = None,
    seed: Annotated[int | None, Option(metavar="N", help="Of weights and order; 0 by default.")] = None,
    checkpoint_every: Annotated[int | None, Option(metavar="N", help="Keep every N-th epoch's weights.")] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="Any line of a recipe: augment.crop=4, data_args.severity=3."),
    ] = None,
    init: Annotated[
        Path | None, Option(metavar="CKPT", help="Begin with the weights of this checkpoint, anybody's.")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from OUT/last.pt, with its recipe.")] = False,
    anyway: Annotated[bool, Option("--anyway", help="Resume over other data than the run began with.")] = False,
    track: Annotated[
        str | None, Option(metavar="A,B", help="Measure these after every epoch, or those of --checkpoint-every.")
    ] = None,
    mode: Annotated[str | None, Option(metavar="MODE", help="Of --track: eval, or reestimate.")] = None,
    device: options.Device = "cpu",
    workers: Annotated[int, Option(metavar="N", min=0, help="Processes that decode images of a folder ahead.")] = 0,
    tensorboard: Annotated[bool, Option("--tensorboard", help="Write OUT/tensorboard, too.")] = False,
    wandb: Annotated[str | None, Option(metavar="PROJECT", help="Log to Weights & Biases, too.")] = None,
    json: options.Json = False,
    _list: Annotated[bool, options.listing("models, data, optimizers, recipes", _print_names)] = False,
) -> None:
    """Train a network and leave checkpoints that say what they hold.

    [bold]landscape train --epochs 20 --out runs/sgd[/]
    [bold]landscape train --recipe digits-sam --rho 0.1 --out runs/sam[/]

    A run that was stopped goes on with --resume, bit for bit. A closed pipe (| head) does not stop it.
    """
    from landscape.checkpoint import load_checkpoint
    from landscape.edge import update_told
    from landscape.locks import writing
    from landscape.training import Recipe, learning_rate, load_recipe, sinks
    from landscape.training import train as run
    from landscape.training.going_on import recipe_of

    last = out / "last.pt"
    begun = recipe_of(load_checkpoint(last)).to_dict() if resume and last.exists() else {}
    flags = {
        "model": model,
        "data": data,
        "optimizer": optimizer,
        "optimizer_args": None if rho is None else {"rho": _number(rho)},
        "epochs": epochs,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "seed": seed,
        "checkpoint_every": checkpoint_every,
    }
    values = load_recipe(recipe).to_dict() if recipe else begun
    for some in ({name: value for name, value in flags.items() if value is not None}, *map(_line, set_ or ())):
        values = _on_top(values, some)
    made = Recipe.from_dict(values)
    text = ""
    tracked: Sequence[str] = ()
    if mode and not (track and mode in ("eval", "reestimate")):
        raise ValueError(f"--mode {mode} is not of a measurement. Expected eval or reestimate, with --track.")
    if track:
        from landscape.tracking import Settings

        tracked = Settings(tuple(options.names_in(track))).metrics  # refused before training
    tracker: Tracker | None = None
    try:
        with ExitStack() as stack:
            stack.enter_context(writing(out, "training"))
            if tracked:
                stack.enter_context(writing(out))
            tell = stack.enter_context(progress("Epochs", made.epochs))
            writers = [stack.enter_context(sinks.tensorboard(out))] if tensorboard else []
            if wandb:
                writers.append(stack.enter_context(sinks.wandb(out, project=wandb, recipe=made)))

            def on_epoch(row: dict[str, Any]) -> None:
                nonlocal text
                text = f"loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}"
                tell(row["epoch"], text)
                for write in writers:
                    write(row)
                track_epoch(row["epoch"], row["step"])

            def track_epoch(epoch: int, step: int) -> None:
                kept = made.keeps(epoch) or not (made.checkpoint_every or made.checkpoint_at)
                if tracker and (kept or not epoch):
                    lr = learning_rate(made, max(epoch, 1))
                    tracker.measure(step, epoch=epoch, lr=lr, update=update_told(made.to_dict(), lr))

            def on_start(model: "nn.Module", splits: "Mapping[str, Split]") -> None:
                nonlocal tracker
                tracker = stack.enter_context(_tracker(tracked, made, model, splits, out, mode or "eval"))
                at = load_checkpoint(last)
                epoch_step = at.metrics[-1]["step"] if at.metrics else 0
                if at.step == epoch_step:  # where it was killed before it had this row
                    track_epoch(at.epoch or 0, epoch_step)

            run(
                made,
                out,
                init=init,
                resume=resume,
                anyway=anyway,
                device=options.find_device(device),
                workers=workers,
                on_start=on_start if tracked else None,
                on_epoch=on_epoch,
                on_step=lambda epochs_done: tell(round(epochs_done, 1), text),
            )
    except KeyboardInterrupt:
        if last.exists():
            again = shlex.join(["landscape", "train", "--out", str(out), "--resume"])
            print(printable(f"{last} is whole. To go on: {again}"), file=sys.stderr)
        raise
    done, cost = load_checkpoint(last), {}
    if tracker:
        seconds, trained = tracker.seconds, tracker.training_seconds
        percent = 100 * seconds / trained if trained else 0.0
        cost = {"tracking": {"seconds": seconds, "training_seconds": trained, "percent": percent}}
    if json:
        facts = {"path": str(last), "sha256": done.sha256, "epoch": done.epoch, "step": done.step}
        print_json({"checkpoint": facts, "recipe": done.recipe, "metrics": done.metrics, **cost})
    else:
        print_line(f"{last}: epoch {done.epoch}, {_words(done.metrics[-1])}")
        if "validation_accuracy" in done.metrics[-1]:
            best = max(done.metrics, key=lambda row: row["validation_accuracy"])
            print(f"Best on validation: epoch {best['epoch']}, {_words(best)}")
        if cost:
            print("Tracking took {seconds:.1f} s, {percent:.0f} % of the training time.".format(**cost["tracking"]))
        print_line(f"Next: {shlex.join(['landscape', 'analyze', str(last)])}")


def _tracker(
    metrics: "Sequence[str]", recipe: "Recipe", model: "nn.Module", splits: Any, out: Path, mode: str
) -> "Tracker":
    """What measures the model of the run."""
    from landscape.losses import LOSSES
    from landscape.problem import Problem
    from landscape.tracking import Tracker

    problem = Problem(model, LOSSES["cross_entropy"](label_smoothing=recipe.label_smoothing), splits, mode=mode)
    return Tracker({split: problem.objective(split) for split in ("train", "test")}, metrics, out=out)


def _number(text: str) -> float | str:
    """The number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text


def _line(assignment: str) -> dict[str, Any]:
    """One line of TOML, in which a word needs no quotes."""
    key, _, value = (part.strip() for part in assignment.partition("="))
    is_word = re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", value) and value not in ("true", "false", "inf", "nan")
    try:
        return tomllib.loads(f'{key} = "{value}"' if is_word else f"{key} = {value}")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--set {assignment} is no line of a recipe. Expected KEY=VALUE: lr=0.1.") from error


def _on_top(values: dict[str, Any], some: dict[str, Any]) -> dict[str, Any]:
    """The values with some of them replaced, item by item in what is a dict; another model drops the model's args."""
    merged = dict(values)
    for name, value in some.items():
        if name in values and str(values[name]).partition(":")[0] != str(value).partition(":")[0]:
            merged.pop(f"{name}_args", None)
        before = merged.get(name)
        merged[name] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _words(row: dict[str, Any]) -> str:
    splits = [name.removesuffix("_loss") for name in row if name.endswith("_loss")]
    return "; ".join(
        f"{split} loss {row[f'{split}_loss']:.4f}, accuracy {row[f'{split}_accuracy']:.4f}" for split in splits
    )

"""``python -m benchmarks.training RECIPE``: train with every optimizer and some seeds, and tabulate how it went.

Settings are what the papers and the recipes of this package have, written down below before any run; nothing is chosen
by test accuracy, and the last epoch is what counts. Runs lie in --out and go on where they were stopped.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from landscape.training import TrainingError, load_recipe, train
from landscape.training.recipe import Recipe

HERE = Path(__file__).parent
_ADAPTIVE = {"schedule": "constant", "lr": 0.05}  # they set their own step size; lr is the first one
OPTIMIZERS: dict[str, dict[str, Any]] = {  # what differs from the recipe
    "sgd": {},
    "adam": {"lr": 1e-3},
    "adamw": {"lr": 1e-3, "weight_decay": 0.01},
    "sam": {},
    "asam": {},
    "r-sam": {},
    "cr-sam": {},
    "sa-sgd": _ADAPTIVE,
    "sa-sam": _ADAPTIVE,
    "curvsam": {},
    "gam": {},
    "sam+gam": {},
}


def main() -> None:
    """Parse the arguments, train, write results/training/NAME.csv and .md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("recipe", help="such as digits-cnn: a name, or a TOML file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--width", type=int, help="model_args.width instead of the recipe's")
    parser.add_argument("--model", help="instead of the recipe's, without its model_args")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = load_recipe(args.recipe)
    if args.model:
        recipe = dataclasses.replace(recipe, model=args.model, model_args={})
    if args.width:
        recipe = dataclasses.replace(recipe, model_args=recipe.model_args | {"width": args.width})
    if args.epochs:
        recipe = dataclasses.replace(recipe, epochs=args.epochs)
    rows = []
    for seed in range(args.seeds):
        for name in OPTIMIZERS:
            rows.append(_run(recipe, name, seed, args.out / args.recipe / f"{name}-{seed}"))
            print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    stem = HERE / "results" / "training" / args.recipe
    stem.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False, float_format="%.6g")
    stem.with_suffix(".md").write_text(table(frame, recipe, args.seeds))


def table(frame: pd.DataFrame, recipe: Recipe, num_seeds: int) -> str:
    """One line an optimizer: means over the seeds, with their standard deviation; what diverged is counted apart."""
    sgd = frame[frame.optimizer == "sgd"].ms_per_step.median()
    lines = [
        f"{recipe.model} {recipe.model_args or ''} on {recipe.data} {recipe.data_args or ''}, {recipe.epochs} epochs, "
        f"batch {recipe.batch_size}, {num_seeds} seed(s); the last epoch.",
        "",
        "| optimizer | differs by | test accuracy, % | final train loss | final test loss | step / SGD's | diverged |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, group in frame.groupby("optimizer", sort=False):
        differs = ", ".join(f"{key} {value}" for key, value in OPTIMIZERS[str(name)].items())
        lines.append(
            f"| {name} | {differs} | {_spread(100 * group.test_accuracy, 2)} | {_spread(group.train_loss, 4)} "
            f"| {_spread(group.test_loss, 4)} | {group.ms_per_step.median() / sgd:.2f} | {group.diverged.sum()} |"
        )
    return "\n".join(lines) + "\n"


def _run(recipe: Recipe, name: str, seed: int, out: Path) -> dict[str, Any]:
    recipe = dataclasses.replace(recipe, optimizer=name, seed=seed, **OPTIMIZERS[name])
    row: dict[str, Any] = {"optimizer": name, "seed": seed, "diverged": False}
    try:
        train(recipe, out, resume=True)
    except TrainingError:
        row["diverged"] = True
        return row
    metrics = pd.read_csv(out / "metrics.csv")
    steps_per_epoch = metrics.step.iloc[-1] / len(metrics)
    last = metrics.iloc[-1]
    return row | {
        "test_accuracy": last.test_accuracy,
        "train_loss": last.train_loss,
        "test_loss": last.test_loss,
        "ms_per_step": 1e3 * metrics.seconds.median() / steps_per_epoch,
    }


def _spread(values: pd.Series, digits: int) -> str:
    values = values.dropna()
    if values.empty:
        return ""
    mean = f"{values.mean():.{digits}f}"
    return f"{mean} ± {values.std():.{digits}f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()

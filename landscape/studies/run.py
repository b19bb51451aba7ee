"""``reproduce``: train, measure and draw a study, going on where an earlier call was stopped.

What is done is known by its files: a training by its last checkpoint, a measurement by its row, a landscape by its
rows. Runs whose results are all there are not trained again, even where their checkpoints were deleted.
"""

from collections.abc import Callable

import torch

from landscape.checkpoint import load_checkpoint
from landscape.files import write_text
from landscape.studies.plan import slug
from landscape.studies.report import write_report
from landscape.studies.store import Store
from landscape.studies.study import Study
from landscape.training import Recipe, TrainingError, train

Progress = Callable[[int, int, str], None]


def reproduce(study: Study, store: Store, *, device: torch.device, progress: Progress | None = None) -> None:
    """Do what is left of the plan, and draw the study up.

    Args:
        study: the study.
        store: its folder and its plan.
        device: where to train and to measure.
        progress: called with the runs that are done, all of them, and what is being done.

    Raises:
        ValueError: a folder of weights is of another recipe; data or settings that are refused.
        KeyboardInterrupt: everything up to there is kept.
    """
    plan = store.plan
    for name, recipe in plan.names.items():
        write_text(store.out / "recipes" / f"{slug(name)}.toml", recipe.to_toml())
    store.write()
    for number, run in enumerate(plan.runs):

        def tell(what: str, number: int = number, run: Recipe = run) -> None:
            if progress:
                progress(number, len(plan.runs), f"{plan.name(run)}, seed {run.seed}: {what}")

        if not store.is_done(run) and _train(run, store, device, tell):
            for step in plan.steps:
                if not step.is_done(run, store.results):
                    step.do(run, store.weights(run), store.results, device, tell)
    write_report(study, plan, store.out)


def _train(run: Recipe, store: Store, device: torch.device, tell: Callable[[str], None]) -> bool:
    """Train the run, or what is left of it; False where it diverges."""
    folder, status, reason = store.weights(run), "finished", ""
    try:
        train(
            run,
            folder,
            resume=True,
            device=device,
            on_epoch=lambda row: tell(f"epoch {row['epoch']} of {run.epochs}, loss {row['train_loss']:.4f}"),
        )
    except TrainingError as error:
        status, reason = "diverged", str(error).partition(";")[0]
    seconds = load_checkpoint(folder / "last.pt").identity.get("seconds", 0.0)
    store.trained(run, status=status, reason=reason, seconds=seconds)
    return status == "finished"

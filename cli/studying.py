"""What ``landscape reproduce`` and ``landscape arena`` share: a study run, its cost first, its answer last."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import duration, print_json, print_line, print_table, print_text, progress

if TYPE_CHECKING:
    import torch

    from landscape.studies import Cost, Plan, Study


def run_study(
    study: "Study",
    plan: "Plan",
    folder: Path,
    facts: dict[str, Any],
    *,
    device: "torch.device",
    dry_run: bool,
    json: bool,
) -> None:
    """Say what is left and what it will cost; unless it is a dry run, do it, and print the answer.

    Args:
        study: the study.
        plan: what it trains.
        folder: where its files go.
        facts: of the call, as in study.json.
        device: where to train and to measure.
        dry_run: stop after the cost.
        json: print one document.
    """
    from landscape.studies import Collected, Store, estimate_cost, grown
    from landscape.studies import reproduce as run

    with options.writing_all([] if dry_run else [folder]):
        store = Store.open(folder, grown(study, plan, folder), facts)
        cost = _document(estimate_cost(store, device))
        if not json:
            _print_cost(cost)
        elif dry_run:
            print_json({"dry_run": cost})
        if dry_run:
            return
        with progress("Runs", len(store.plan.runs)) as tell:
            run(study, store, device=device, progress=lambda done, _, text: tell(done, text))
    found, readme = Collected(store.plan, folder), folder / "README.md"
    if json:
        print_json(
            {
                "schema": "landscape.reproduce/1",
                "report": str(readme),
                "answer": study.answer(found),
                "num_trainings": len(found.trainings),
                "num_diverged": len(found.diverged),
                "num_not_converged": len(found.not_converged),
            }
        )
    else:
        print_text(study.answer(found))
        print()
        print_line(f"The report is {readme}.")


def _document(costs: "list[Cost]") -> dict[str, Any]:
    by_name = {c.optimizer: {"runs": c.num_runs, "training": c.training, "measuring": c.measuring} for c in costs}
    return {"optimizers": by_name, "seconds": sum(c.training + c.measuring for c in costs)}


def _print_cost(cost: dict[str, Any]) -> None:
    found = cost["optimizers"].items()
    rows = [[name, str(c["runs"]), duration(c["training"]), duration(c["measuring"])] for name, c in found]
    if rows:
        print_table(["to do", "runs", "training", "measuring"], rows)
    left = f"About {duration(cost['seconds'])} are left, by timed steps."
    print_text(left if rows else "Everything is done already.")

"""What a study needs, looked at before the first hour of training, and not after the last."""

import inspect
import json
from typing import Any

from landscape.data import Data, load_data
from landscape.data.corruptions import CORRUPTIONS
from landscape.measure import METRICS
from landscape.models import build_model
from landscape.studies.plan import Store, slug
from landscape.studies.steps import Measure, MeasurePlane
from landscape.training import Recipe
from landscape.training.optimizers import build_optimizer

_CORRUPTED = "corrupted"


def require_sense(store: Store) -> None:
    """Refuse a plan that would fail once its networks are trained; what is done already is not looked at.

    Costs loading the data, and building each network and its optimizer.

    Raises:
        ValueError: a recipe cannot be built, or a step asks for a split, an epoch, a metric or an argument that there
            is not.
    """
    plan = store.plan
    if all(isinstance(step, MeasurePlane) for step in plan.steps):
        raise ValueError("The study measures no metric. Expected a Measure(...) among the steps of its plan.")
    folders: dict[str, str] = {}
    for name in plan.names:
        if (other := folders.setdefault(slug(name), name)) != name:
            raise ValueError(f"Recipes {other!r} and {name!r} have one folder. Make them differ in what is named.")
    for step in plan.steps:
        if isinstance(step, Measure):
            _require_metrics(step)
    loaded: dict[str, Data] = {}
    left = [run for run in plan.runs if not store.is_done(run)]
    for run in {plan.name(run): run for run in left}.values():
        which = json.dumps([run.data, run.data_args], sort_keys=True)
        if which not in loaded:
            loaded = {which: load_data(run.data, **run.data_args)}  # no more than one of them in memory
        data = loaded[which]
        shape: dict[str, Any] = {"input_shape": data.input_shape, "num_classes": data.num_classes}
        build_optimizer(run, build_model(run.model, **(shape | run.model_args)))
        for step in plan.steps:
            if isinstance(step, Measure):
                _require_there(step, run, plan.name(run), data)


def _require_metrics(step: Measure) -> None:
    for split, names in step.metrics.items():
        for name in names:
            if name not in METRICS and name not in step.variants:
                raise ValueError(
                    f"Measure of {split}: unknown metric {name!r}. Expected some of: {', '.join(METRICS)}."
                )
    for name, (metric, arguments) in step.variants.items():
        if metric not in METRICS:
            raise ValueError(f"Variant {name!r} of unknown metric {metric!r}. Expected one of: {', '.join(METRICS)}.")
        accepted = list(inspect.signature(METRICS[metric]).parameters)[1:]
        if unknown := [argument for argument in arguments if argument not in accepted]:
            raise ValueError(f"Variant {name!r}: {metric} takes no {unknown[0]!r}. Expected: {', '.join(accepted)}.")


def _require_there(step: Measure, run: Recipe, name: str, data: Data) -> None:
    """What the step measures of the run is there once it is trained."""
    splits = [*data.splits, _CORRUPTED]
    for split in step.metrics:
        if split not in splits:
            raise ValueError(
                f"{name}: its data have no split {split!r} to measure. Expected one of: {', '.join(splits)}"
                f"{'' if 'validation' in splits else '; data_args validation=0.1 makes validation'}."
            )
    if _CORRUPTED in step.metrics and step.severity not in range(1, 6):
        raise ValueError(f"severity={step.severity} of {len(CORRUPTIONS)} corruptions. Expected 1 to 5.")
    for epoch in sorted(step.epochs(run)):
        if epoch > run.epochs or not (epoch == run.epochs or run.keeps(epoch)):
            raise ValueError(f"{name}: epoch {epoch} of {run.epochs} is to be measured, and is not kept.")

"""A study of seconds: two optimizers, and one that diverges."""

from landscape.figures import Table
from landscape.studies import Collected, Finding, Measure, MeasurePlane, Plan, Study, drawn
from landscape.training import Recipe

TRACE = {"trace": ("trace", "test")}


def recipe(optimizer: str, **settings) -> Recipe:
    data_args = {"num_train": 60, "validation": 0.1}
    settings = {"epochs": 2, "batch_size": 30, "checkpoint_at": (1,), "weight_decay": 0.0} | settings
    return Recipe(model="mlp", model_args={"hidden": (4,)}, data_args=data_args, optimizer=optimizer, **settings)


def plan(scale: str, data: str) -> Plan:
    bad = recipe("sgd", lr=1e30)
    by_epoch = Measure({"train": ("loss", "trace"), "test": ("trace",)}, at="kept")
    variants = {"few": ("local_minima", {"num_directions": 2})}
    at_end = Measure({"validation": ("accuracy", "few"), "corrupted": ("accuracy",)}, variants=variants, num_samples=20)
    return Plan((recipe("sgd"), recipe("sam"), bad), 2, (by_epoch, at_end, MeasurePlane(num_points=3)))


def table(found: Collected) -> Table:
    return found.means({"trace": ("trace", "test", None)}, "Traces.")


def difference(found: Collected) -> Table:
    return found.changes(TRACE, [("SGD, lr 0.1", "SAM")], "On test.")


def answer(found: Collected) -> str:
    return f"The trace is {found.compare_in_words('SGD, lr 0.1', 'SAM', 'trace', 'test')}."


STUDY = Study(
    name="tiny",
    question="Is it?",
    paper="None: a test",
    plan=plan,
    answer=answer,
    findings=lambda found: [Finding("it is", answer(found), None)],
    tables={"table": table, "difference": difference},
    figures={"landscapes": drawn("landscapes"), "spectrum": drawn("spectrum")},
    limits="It is tiny.",
)

"""A study of a second."""

from landscape.figures import Table
from landscape.studies import Collected, Measure, MeasurePlane, Plan, Study, drawn
from landscape.training import Recipe


def plan(scale: str, data: str) -> Plan:
    common = {"model": "mlp", "model_args": {"hidden": (4,)}, "data_args": {"num_train": 60}, "batch_size": 30}
    recipes = [Recipe(optimizer=name, epochs=3, checkpoint_at=(1,), **common) for name in ("sgd", "sam")]
    measure = Measure({"train": ("loss", "gradient_norm"), "test": ("gradient_norm", "trace")}, at="kept")
    return Plan(tuple(recipes), 1, (measure, MeasurePlane(num_points=5)))


def table(found: Collected) -> Table:
    return found.means({"trace": ("trace", "test", None)}, "Traces.")


STUDY = Study(
    name="tiny",
    question="Is it?",
    paper="None: a test",
    plan=plan,
    answer=lambda found: found.compare_in_words("SGD", "SAM", "trace", "test"),
    findings=lambda found: [],
    tables={"table": table},
    figures={"landscapes": drawn("landscapes")},
    limits="It is tiny.",
)

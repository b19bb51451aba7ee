"""Arguments of single metrics: named, typed and refused by their signatures, recorded, and part of what a result is."""

import inspect
import json

import pytest
import torch
from torch import nn

from landscape.measure import METRICS, analyze, arguments
from landscape.measure.arguments import PROTOCOLS, asked_arguments, other_arguments
from landscape.measure.cost import estimate_cost
from landscape.objective import Objective
from landscape.tracking import Settings
from landscape.training import Recipe, train
from tests.cli.command import here

EVERY = [
    (name, argument, one.default)
    for name, metric in METRICS.items()
    for argument, one in list(inspect.signature(metric).parameters.items())[1:]
]


@pytest.fixture
def objective():
    torch.manual_seed(0)
    return Objective(nn.Linear(3, 2), nn.CrossEntropyLoss(), [(torch.randn(40, 3), torch.arange(40) % 2)])


@pytest.mark.parametrize(("metric", "argument", "default"), EVERY)
def test_every_argument_of_every_metric_can_be_set_to_its_default(metric, argument, default):
    kind = arguments._kind_of(metric, argument)
    assert arguments._value("", str(default), kind) == default
    asked = asked_arguments([f"{metric}.{argument}={default}"], METRICS)
    assert asked == ({metric: {argument: default}} if argument in arguments._SHARED else {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sam_ratio.rho=0.1", 0.1),
        ("sam_ratio.ascent_steps=7", 7),
        ("sam_ratio.adaptive=true", True),
        ("sam_ratio.step=1e-3", 1e-3),
        ("local_minima.evaluation=minibatch", "minibatch"),
        ("trace.num_probes=12", 12),
        ("layer_table.layers=conv*,fc.*", ("conv*", "fc.*")),
        (" lambda_max.method = power ", "power"),
    ],
)
def test_values_have_the_type_of_the_argument(text, found):
    ((given,),) = [one.values() for one in asked_arguments([text], METRICS).values()]
    assert (given, type(given)) == (found, type(found))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sam.rho=1", "Unknown metric 'sam'. Expected one of: .*sam_ratio"),
        ("sam_ratio.r=1", "Unknown argument 'r' of sam_ratio. Expected one of: rho, ascent_steps"),
        ("loss.rho=1", "Unknown argument 'rho' of loss. It takes none"),
        ("sam_ratio.rho=large", "expected a number"),
        ("sam_ratio.rho=nan", "expected a number"),
        ("sam_ratio.ascent_steps=1.5", "expected a whole number"),
        ("sam_ratio.adaptive=1", "expected true or false"),
        ("trace.method=guess", "expected one of: auto, exact, .*hutchinson"),
        ("sam_ratio.rho", "METRIC.ARG=VALUE"),
        ("rho=1", "METRIC.ARG=VALUE"),
        ("top_eigenvalues.k=3", "top_eigenvalues is not measured. Expected one of: .*trace"),
    ],
)
def test_what_there_is_not_is_refused_by_what_there_is(text, words):
    with pytest.raises(ValueError, match=words) as error:
        asked_arguments([text], [name for name in METRICS if name != "top_eigenvalues"])
    assert "\n" not in str(error.value)


def test_the_papers_protocol_is_of_arguments_that_there_are():
    assert other_arguments(PROTOCOLS["papers"])["trace"] == {"method": "hutchinson"}
    asked = asked_arguments(["sam_ratio.rho=0.3"], ["sam_ratio", "loss", "lambda_max"], "papers")
    assert asked == {"sam_ratio": {"rho": 0.3}, "lambda_max": {"method": "power"}}
    with pytest.raises(ValueError, match="--protocol paper is unknown"):
        asked_arguments([], METRICS, "paper")


def test_they_reach_the_metric_and_are_recorded(objective):
    own = {"lambda_max": {"method": "power"}, "trace": {"num_probes": 5}}
    found = analyze(objective, ["lambda_max", "trace"], arguments=own)
    assert found["train"]["lambda_max"].details["method"] == "power"
    assert found["train"]["trace"].num_matvecs == 5
    assert found.provenance["arguments"] == own
    assert "arguments" not in analyze(objective, ["loss"], arguments={"trace": {"method": "auto"}}).provenance
    with pytest.raises(ValueError, match="Unknown argument"):
        analyze(objective, ["loss"], arguments={"trace": {"probes": 1}})


def test_costs_follow(objective):
    few, many = (
        estimate_cost(objective, ["sam_ratio"], arguments={"sam_ratio": {"ascent_steps": n}})["metrics"]["sam_ratio"]
        for n in (3, 30)
    )
    assert (few["gradients"]["most"], many["gradients"]["most"]) == (5, 41)
    own = {"trace": {"method": "hutchinson"}}
    assert estimate_cost(objective, ["trace"], arguments=own)["metrics"]["trace"]["products"]["most"] == 1000


def test_a_track_is_known_by_them():
    own = Settings(arguments={"sam_ratio": {"rho": 0.1}})
    assert Settings().digest == Settings(arguments={"sam_ratio": {"rho": 0.05}}).digest != own.digest


# --- in the commands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    data = {"num_train": 60, "validation": 0.1}
    train(Recipe(model_args={"hidden": (4,)}, data_args=data, epochs=2, checkpoint_every=1), out)
    return out


@pytest.fixture
def command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    return lambda *arguments: here(monkeypatch, capsys, *arguments)


def test_another_setting_in_the_same_folder_is_refused(command):
    usual = ("analyze", "run/last.pt", "--metrics", "sam_ratio", "--split", "train", "--out", "here")
    usual += ("--set", "sam_ratio.batch_size=10")
    assert command(*usual, "--set", "sam_ratio.rho=0.1").returncode == 0
    assert command(*usual, "--set", "sam_ratio.rho=0.1").returncode == 0
    for others in ((), ("--set", "sam_ratio.rho=0.2")):
        done = command(*usual, *others)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "(there sam_ratio.batch_size=10, sam_ratio.rho=0.1)" in done.stderr
    assert command(*usual, "--overwrite").returncode == 0


def test_protocol_set_and_dry_run(command):
    usual = ("analyze", "run/last.pt", "--metrics", "lambda_max,local_minima", "--split", "train", "--json")
    own = ("--protocol", "papers", "--set", "local_minima.batch_size=4", "--set", "local_minima.num_directions=3")
    found = json.loads(command(*usual, *own).stdout)
    assert found["provenance"]["arguments"] == {
        "lambda_max": {"method": "power"},
        "local_minima": {"evaluation": "minibatch", "batch_size": 4, "num_directions": 3},
    }
    assert found["splits"]["train"]["local_minima"]["evaluation"] == "minibatch"
    costs = json.loads(command(*usual, *own, "--dry-run").stdout)["dry_run"]["train"]["metrics"]
    assert costs["local_minima"]["gradients"]["most"] == pytest.approx(11)


def test_track_goes_on_with_the_same_and_not_with_others(command):
    usual = ("track", "run", "--metrics", "sam_ratio", "--split", "train", "--out", "here", "--json")
    for own, num_measured in (((), 2), (("--set", "sam_ratio.rho=0.1"), 2), (("--set", "sam_ratio.rho=0.1"), 0)):
        assert json.loads(command(*usual, *own).stdout)["num_measured"] == num_measured


@pytest.mark.parametrize("verb", ["analyze", "track"])
def test_the_validation_split_is_measured_where_it_is_asked_for(command, verb):
    where = "run/last.pt" if verb == "analyze" else "run"
    found = json.loads(
        command(verb, where, "--metrics", "loss", "--json", "--split", "validation", "--out", "a").stdout
    )
    point = found["rows"][0] if verb == "track" else found
    assert list(point["splits"]) == ["validation"]
    assert point["objective"]["num_examples"] == {"validation": 144}
    both = json.loads(command(verb, where, "--metrics", "loss", "--json", "--out", "b").stdout)
    assert list((both["rows"][0] if verb == "track" else both)["splits"]) == ["train", "test"]

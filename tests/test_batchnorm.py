"""Batch statistics: re-estimated ones are those of the inputs, whatever was there and however the rows are batched."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from landscape.batchnorm import reestimate, staleness
from landscape.checkpoint import load_checkpoint
from landscape.data import Split
from landscape.fingerprint import differences
from landscape.measure import analyze
from landscape.models import build_model
from landscape.objective import Objective
from landscape.problem import Problem
from landscape.results.analysis import STALE, stale_words
from landscape.studies.steps import Measure
from landscape.tracking import Settings, read_track
from landscape.training import Recipe, train
from tests.cli.command import here


class Theirs(nn.Module):
    """Batch normalization of somebody's own, of one channel."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(1))
        self.register_buffer("running_var", torch.ones(1))

    def forward(self, x):
        return functional.batch_norm(x, self.running_mean, self.running_var, training=self.training, eps=1e-3)


def network(*, seed=0):
    torch.manual_seed(seed)
    model = build_model("resnet18", input_shape=(1, 8, 8), num_classes=4, width=4).eval()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.uniform_(0.5, 1.5)
    return model


def images(num=24, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(num) % 4
    return torch.rand(num, 1, 8, 8, generator=generator) + targets.view(-1, 1, 1, 1), targets


def statistics(model):
    return {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}


def close(one, other, tolerance=1e-4):
    return all(torch.allclose(one[name], other[name], rtol=tolerance, atol=tolerance) for name in one)


def test_they_are_the_mean_and_variance_of_every_layers_inputs():
    model, (x, _) = network().double(), images()
    reestimate(model, [x.double()[:10], x.double()[10:]])
    seen = {}
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, module in norms.items():
        module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    model(x.double())
    assert len(norms) == 20
    for name, module in norms.items():
        torch.testing.assert_close(module.running_mean, seen[name].mean((0, 2, 3)))
        torch.testing.assert_close(module.running_var, seen[name].var((0, 2, 3)))


def test_one_layer_has_what_torch_estimates_of_one_batch():
    x = torch.randn(50, 3)
    ours, theirs = nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=None)
    reestimate(ours, [x[:7], x[7:]])
    update_bn([x], theirs)
    assert close(statistics(ours), statistics(theirs), 1e-6)


def test_neither_batches_nor_order_nor_what_was_there_matter():
    x, targets = images()
    found = []
    for seed, cut in enumerate((24, 5, 1, 8)):
        model = network()
        if seed:
            for buffer in statistics(model):
                model.get_buffer(buffer).fill_([0.0, 1e-12, 1e6, torch.nan][seed])
        rows = (
            torch.argsort(targets) if seed == 3 else torch.randperm(24, generator=torch.Generator().manual_seed(seed))
        )
        reestimate(model, [(x[some], targets[some]) for some in rows.split(cut)])
        found.append(statistics(model))
    assert all(close(found[0], other) for other in found[1:])


def test_nothing_else_is_touched():
    model, (x, _) = network(), images()
    model.train()
    next(model.children()).eval()
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    reestimate(model, torch.utils.data.DataLoader(x, batch_size=7, shuffle=True))
    assert torch.rand(1) == expected
    assert [module.training for module in model.modules()] == flags
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == ("running" not in name)
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_after_an_error_they_are_what_they_were():
    model, (x, _) = network(), images()
    before, calls = statistics(model), []

    def forward(batch):
        calls.append(batch)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return model(batch)

    with pytest.raises(KeyboardInterrupt):
        reestimate(model, [x[:12], x[12:]], forward=forward)
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(model).items())


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.BatchNorm1d(2), torch.randn(9, 2)),
        (nn.BatchNorm1d(2, affine=False), torch.randn(9, 2, 5)),
        (nn.BatchNorm2d(2, momentum=None), torch.randn(9, 2, 3, 4)),
        (nn.BatchNorm3d(2), torch.randn(9, 2, 3, 2, 2)),
        (nn.SyncBatchNorm(2), torch.randn(9, 2, 3)),
        (Theirs(), torch.randn(9, 1, 4)),
        (nn.BatchNorm1d(2).to(torch.bfloat16), torch.randn(9, 2).to(torch.bfloat16)),
    ],
)
def test_batch_normalization_of_any_kind(model, x):
    assert staleness(model, [x + 3]) > 1
    reestimate(model, [{"x": x[:4] + 3}, {"x": x[4:] + 3}], forward=lambda batch: model(batch["x"]))
    moved = (x + 3).transpose(0, 1).flatten(1).float()
    tolerance = 0.02 if x.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(model.running_mean.float(), moved.mean(1), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(model.running_var.float(), moved.var(1), rtol=tolerance, atol=tolerance)
    assert staleness(model, [x + 3]) < 0.1


def test_without_batch_normalization_nothing_happens():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    reestimate(model, [torch.ones(3, 2)])
    assert staleness(model, [torch.ones(3, 2)]) == 0


def test_a_single_value_a_channel_is_refused():
    with pytest.raises(ValueError, match="one value a channel"):
        reestimate(nn.BatchNorm1d(2), [torch.ones(1, 2)])


def test_staleness_is_the_error_of_the_normalized_activations():
    model, x = nn.BatchNorm1d(2, affine=False), torch.randn(50, 2, dtype=torch.float64) * 3 + 1
    model = model.double()
    wrong = model.eval()(x)
    mean, var = x.mean(0), x.var(0, correction=0)
    right = (x - mean) / (var + model.eps).sqrt()
    expected = ((wrong - right) ** 2).mean().sqrt().item()
    assert staleness(model, [x[:20], x[20:]]) == pytest.approx(expected, rel=1e-9)


# --- of objectives and problems ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    train(Recipe(model="cnn", epochs=2, checkpoint_every=1), folder)
    return folder


def test_a_problem_takes_them_from_the_training_split(run):
    checkpoint = load_checkpoint(run / "last.pt")
    plain, problem = Problem.of(checkpoint), Problem.of(checkpoint, mode="reestimate")
    before = copy.deepcopy(problem.model.state_dict())
    objectives = problem.objectives()
    assert all(torch.equal(tensor, before[name]) for name, tensor in problem.model.state_dict().items())
    reestimate(plain.model, plain.splits["train"].batches(100))
    for split, objective in plain.objectives().items():
        assert objectives[split].value() == pytest.approx(objective.value(), rel=1e-4)
        assert torch.allclose(objectives[split].gradient(), objective.gradient(), atol=1e-4)
    (few,) = list(objectives["test"].recut(10**6))
    assert objectives["test"].over(few).value() == pytest.approx(objectives["test"].value(), rel=1e-6)
    assert objectives["test"].over(few, dtype=torch.float64).value() == pytest.approx(objectives["test"].value(), 1e-4)


def test_other_weights_have_statistics_of_their_own(run):
    problem = Problem.of(load_checkpoint(run / "last.pt"), mode="reestimate")
    objective = problem.objective("test")
    first = load_checkpoint(run / "epoch-0001.pt")
    problem.load(first)
    expected = Problem.of(first, mode="reestimate").objective("test").value()
    assert objective.value() == pytest.approx(expected, rel=1e-6)
    assert Problem.of(first).objective("test").value() != pytest.approx(expected, rel=1e-2)


def test_the_mode_and_its_data_are_part_of_the_fingerprint(run):
    problem = Problem.of(load_checkpoint(run / "last.pt"), mode="reestimate")
    objective = problem.objective("test")
    analysis = analyze({"test": objective}, ["loss"])
    assert analysis.objective["mode"] == "reestimate"
    assert "staleness" not in analysis.objective
    assert problem.fingerprint("test")["statistics"] == objective.fingerprint()["statistics"]
    assert differences(problem.fingerprint("test"), replace(problem, mode="eval").fingerprint("test")) == [
        "the mode (reestimate then, eval now)"
    ]
    less = replace(problem, splits=problem.splits | {"train": problem.splits["train"].sample(99, seed=0)})
    assert differences(problem.fingerprint("test"), less.fingerprint("test")) == ["the data of batch statistics"]


def test_they_are_refused_where_there_is_no_training_split():
    problem = Problem(network(), nn.CrossEntropyLoss(), {"test": Split(*images())}, mode="reestimate")
    with pytest.raises(ValueError, match="no split 'train'"):
        problem.objective("test")
    with pytest.raises(ValueError, match="are re-estimated by"):
        Objective(network(), nn.CrossEntropyLoss(), [images()], mode="reestimate")


def test_a_stale_network_is_told_and_an_ordinary_one_is_not(run):
    ordinary = Problem.of(load_checkpoint(run / "last.pt"))
    with torch.no_grad():
        reestimate(ordinary.model, ordinary.splits["train"].batches(100))
    assert not stale_words(analyze(ordinary.objectives(), ["loss"]).objective)
    for name, buffer in ordinary.model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(1)
    found = analyze({"test": ordinary.objective("test")}, ["loss"]).objective
    assert found["staleness"] > STALE
    assert "stale" in stale_words(found)


def test_digests_of_the_default_mode_are_what_they_were():
    assert Settings().digest == Settings(mode="eval").digest != Settings(mode="reestimate").digest
    one = Measure({"train": ("trace",)})
    assert one.digest == replace(one, mode="eval").digest != replace(one, mode="reestimate").digest


# --- in the commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def stale(run, tmp_path, monkeypatch):
    """A folder with a run whose means are all moved by 1, where the command runs."""
    for name in ("epoch-0001.pt", "last.pt"):
        held = torch.load(run / name, weights_only=True)
        for key, tensor in held["model"].items():
            if key.endswith("running_mean"):
                tensor.add_(1)
        (tmp_path / "run").mkdir(exist_ok=True)
        torch.save(held, tmp_path / "run" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("default")
def test_analyze_tells_of_stale_statistics_and_measures_with_others(stale, monkeypatch, capsys):
    losses = []
    for arguments, warns in (([], True), (["--mode", "reestimate"], False)):
        arguments += ["--metrics", "loss", "--split", "test", "--json"]
        done = here(monkeypatch, capsys, "analyze", "run/last.pt", *arguments)
        assert done.returncode == 0
        assert ("BatchNorm statistics are stale" in done.stderr) == warns
        found = json.loads(done.stdout)
        assert found["objective"]["mode"] == ("eval" if warns else "reestimate")
        losses.append(found["splits"]["test"]["loss"]["value"])
    assert losses[0] > losses[1]
    refused = here(monkeypatch, capsys, "analyze", "run/last.pt", "--mode", "evaluate")
    assert (refused.returncode, "Expected one of: eval, train, reestimate" in refused.stderr) == (2, True)


@pytest.mark.filterwarnings("default")
def test_results_of_two_modes_are_not_the_same(stale, monkeypatch, capsys):
    usual = ("analyze", "run/last.pt", "--metrics", "loss", "--out", "here")
    assert here(monkeypatch, capsys, *usual).returncode == 0
    assert "are stale" in (stale / "here" / "report.html").read_text()
    done = here(monkeypatch, capsys, *usual, "--mode", "reestimate")
    assert done.returncode == 2
    assert "the mode (eval then, reestimate now)" in done.stderr
    assert here(monkeypatch, capsys, *usual, "--mode", "reestimate", "--overwrite").returncode == 0
    assert "were re-estimated from the training split" in (stale / "here" / "report.html").read_text()


@pytest.mark.filterwarnings("default")
def test_track_tells_of_them_once(stale, monkeypatch, capsys):
    usual = ("track", "run", "--metrics", "loss", "--out", "here")
    done = here(monkeypatch, capsys, *usual)
    assert (done.returncode, done.stderr.count("are stale")) == (0, 1)
    again = here(monkeypatch, capsys, *usual, "--mode", "eval")
    assert "Measured 0 checkpoints" in again.stdout
    other = here(monkeypatch, capsys, *usual, "--mode", "reestimate")
    assert "Measured 2 checkpoints" in other.stdout
    rows = read_track("here/track.jsonl", Settings(("loss",), mode="reestimate").digest)
    assert [row.objective["mode"] for row in rows] == ["reestimate"] * 2


def test_a_training_is_tracked_with_them_and_not_changed(tmp_path, monkeypatch, capsys):
    usual = ("train", "--model", "cnn", "--epochs", "1", "--set", "data_args.num_train=100")
    assert here(monkeypatch, capsys, *usual, "--out", tmp_path / "plain").returncode == 0
    tracked = ("--track", "loss", "--mode", "reestimate")
    assert here(monkeypatch, capsys, *usual, "--out", tmp_path / "tracked", *tracked).returncode == 0
    plain, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("plain", "tracked"))
    assert all(torch.equal(tensor, other.state["model"][name]) for name, tensor in plain.state["model"].items())
    found = read_track(tmp_path / "tracked" / "track.jsonl")[-1]["test"]["loss"].value
    assert found == pytest.approx(Problem.of(other, mode="reestimate").objective("test").value(), rel=1e-5)
    refused = here(monkeypatch, capsys, *usual, "--out", tmp_path / "none", "--mode", "reestimate")
    assert (refused.returncode, "with --track" in refused.stderr) == (2, True)

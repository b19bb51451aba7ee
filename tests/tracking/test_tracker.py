import pytest
import torch
from torch import nn

from landscape import Objective, load_checkpoint
from landscape.problem import Problem
from landscape.tracking import Tracker, read_track
from landscape.training import Recipe, train

METRICS = ["loss", "gradient_norm", "lambda_max", "trace", "sam_ratio"]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("landscape.tracking.summary.save_figure", lambda *_: [])
    monkeypatch.setattr("landscape.tracking.summary.write_run_page", lambda *_: None)


def trained(measure_every: int | None) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[bool], list]:
    """A network with dropout and BatchNorm after 12 steps; what is drawn next; its flags; the points measured."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    net[1].momentum = 0.3
    x = torch.randn(32, 4)
    y = x[:, :3].argmax(dim=1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    tracker = Tracker(Objective(net, nn.CrossEntropyLoss(), [(x, y)]), METRICS, every=measure_every or 1)
    net.train()
    for step in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        if measure_every:
            tracker.measure(step)
        optimizer.step()
    flags = [module.training for module in net.modules()]
    return net.state_dict(), torch.rand(3), flags, tracker.analyses


def test_measuring_in_the_middle_of_training_changes_nothing_bit_for_bit():
    weights, drawn, flags, none = trained(None)
    for every in (1, 5):
        with_it, drawn_with_it, flags_with_it, points = trained(every)
        assert [point.checkpoint["step"] for point in points] == list(range(0, 12, every))
        assert weights.keys() == with_it.keys()
        for name, value in weights.items():
            assert torch.equal(value, with_it[name]), name
        assert torch.equal(drawn, drawn_with_it)
        assert flags == flags_with_it == [True] * 6
    assert none == []
    losses = [point["train"]["loss"].value for point in points]
    assert len(set(losses)) == len(losses)  # it did look at the live weights


def test_a_training_run_is_the_same_with_it_and_the_points_are_those_of_its_checkpoints(tmp_path):
    recipe = Recipe(model="cnn", model_args={"width": 4}, data_args={"num_train": 100}, epochs=3, checkpoint_every=1)
    straight = load_checkpoint(train(recipe, tmp_path / "straight"))
    trackers = []

    def on_start(model, splits):
        objective = Problem(model, nn.CrossEntropyLoss(), splits).objective("train")
        trackers.append(Tracker(objective, ["loss", "lambda_max"], out=tmp_path))

    def on_epoch(row):
        trackers[-1].measure(row["step"], epoch=row["epoch"], lr=row["lr"])

    def tracked(**how):
        last = train(recipe, tmp_path / "tracked", on_start=on_start, on_epoch=on_epoch, **how)
        trackers[-1].close()
        return load_checkpoint(last)

    done = tracked()
    for name, value in straight.state["model"].items():
        assert torch.equal(value, done.state["model"][name]), name
    points = read_track(tmp_path / "track.jsonl")
    assert [point.checkpoint["epoch"] for point in points] == [1, 2, 3]
    for point, row in zip(points, done.metrics, strict=True):
        assert (point.checkpoint["step"], point.checkpoint["lr"]) == (row["step"], row["lr"])
        assert point["train"]["loss"].value == pytest.approx(row["train_loss"], rel=1e-5)
    (tmp_path / "tracked" / "epoch-0002.pt").replace(tmp_path / "tracked" / "last.pt")  # as after a kill
    tracked(resume=True)
    assert len(read_track(tmp_path / "track.jsonl")) == 3  # the third is not measured a second time
    assert len((tmp_path / "track.csv").read_text().splitlines()) == 1 + 3 * 2


def test_it_says_what_it_cost_and_keeps_no_basis():
    net = nn.Linear(3, 2)
    objective = Objective(net, nn.MSELoss(), [(torch.ones(4, 3), torch.zeros(4, 2))])
    tracker = Tracker({"train": objective}, ["lambda_max"])
    point = tracker.measure(0)
    assert 0 < point.provenance["seconds"] <= tracker.seconds
    assert objective.work is None
    assert tracker.measure(0) is not None  # in memory every call counts


def test_wrong_arguments_are_refused_at_once(tmp_path):
    objective = Objective(nn.Linear(3, 2), nn.MSELoss(), [(torch.ones(4, 3), torch.zeros(4, 2))])
    with pytest.raises(ValueError, match="every=0 is out of range"):
        Tracker(objective, every=0)
    with pytest.raises(ValueError, match="Unknown metric 'sharpness'"):
        Tracker(objective, ["sharpness"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

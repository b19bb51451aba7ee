import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import Objective, load_checkpoint
from landscape.files import append_line
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


def tiny(**options):
    net = nn.Linear(3, 2)
    objective = Objective(net, nn.MSELoss(), [(torch.ones(4, 3), torch.zeros(4, 2))])
    return net, Tracker(objective, ["loss", "lambda_max"], **options)


class Writer:
    def __init__(self):
        self.seen = []

    def add_scalar(self, name, value, step):
        self.seen.append((name, step))
        assert value > 0


class Run:
    def __init__(self):
        self.seen = []

    def log(self, scalars, step):
        self.seen += [(name, step) for name in scalars]


def test_values_go_to_the_logger_that_is_given():
    expected = [(f"landscape/train/{name}", step) for step in (0, 2) for name in ("loss", "lambda_max")]
    writer, run, seen = Writer(), Run(), []
    for log in (writer, run, lambda scalars, step: seen.extend((name, step) for name in scalars)):
        _, tracker = tiny(log=log, every=2)
        for step in range(4):
            tracker.measure(step)
    assert writer.seen == run.seen == seen == expected
    with pytest.raises(ValueError, match="log is int"):
        tiny(log=3)


def test_what_fails_at_first_is_raised_and_later_is_a_warning_without_a_row(tmp_path):
    net, tracker = tiny(out=tmp_path)
    with torch.no_grad():
        kept = net.weight.clone()
        net.weight.fill_(torch.nan)
    with tracker:
        assert tracker.measure(0)["train"]["loss"].converged is False  # of NaN there is a row
        net.weight.data.copy_(kept)
        net.register_parameter("bias", None)
        torch.manual_seed(0)
        with pytest.warns(UserWarning, match="failed at step 1, and training goes on: The parameter .bias. is not"):
            assert tracker.measure(1) is None
        assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(0)))
    assert [point.checkpoint["step"] for point in read_track(tmp_path / "track.jsonl")] == [0]
    net, tracker = tiny()
    net.register_parameter("bias", None)
    with pytest.raises(ValueError, match="'bias' is not there any more"):
        tracker.measure(0)


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch):
    _, tracker = tiny(out=tmp_path)
    tracker.measure(0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("landscape.results.track.append_line", full)
    with pytest.warns(UserWarning, match="at step 1, .*No space left"):
        tracker.measure(1)
    monkeypatch.setattr("landscape.results.track.append_line", append_line)
    assert tracker.measure(2) is not None
    tracker.release()
    assert [point.checkpoint["step"] for point in tracker.analyses] == [0, 2]


def test_of_several_processes_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    _, tracker = tiny(out=tmp_path)
    assert tracker.measure(0) is None
    tracker.close()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    _, tracker = tiny(out=tmp_path)
    assert tracker.measure(0) is not None
    tracker.release()


def test_weights_that_lie_in_several_processes_are_refused(tmp_path):
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net, tracker = tiny()
        fully_shard(net, mesh=distributed.device_mesh.init_device_mesh("cpu", (1,)))
        with pytest.raises(ValueError, match=r"sharded over processes \(weight\).* landscape track DIR"):
            tracker.measure(0)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("prepared", [False, True])
def test_measuring_over_the_loader_that_is_trained_on_leaves_the_pass_alone(prepared):
    def trained(*, measured):
        torch.manual_seed(0)
        model, x = nn.Linear(4, 3), torch.randn(12, 4)
        dataset = TensorDataset(x, x[:, :3].argmax(dim=1))
        loader = DataLoader(dataset, batch_size=2, num_workers=1, persistent_workers=True)
        if prepared:
            loader = pytest.importorskip("accelerate").Accelerator(cpu=True).prepare(loader)
        tracker = Tracker(Objective(model, nn.CrossEntropyLoss(), loader), metrics=["loss"])
        seen = []
        for step, (_, targets) in zip(range(10), loader, strict=False):  # a pass begun anew would not end
            seen.append(targets.tolist())
            if measured:
                tracker.measure(step)
        return seen

    assert trained(measured=True) == trained(measured=False)

"""Fingerprints tell what changes numbers from what does not: the same for moved folders, another for another loss."""

import json
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import Objective
from landscape.batches import refuse_changing
from landscape.content import DataHash, digest
from landscape.data import Split
from landscape.files import plain
from landscape.fingerprint import differences, of_data, of_loss
from landscape.measure import analyze
from landscape.sources import sources

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def cut(sizes: list[int], x: torch.Tensor = X, y: torch.Tensor = Y) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


class Lazy:
    """Batches that are made anew in every pass."""

    def __init__(self, batches):
        self.made = batches

    def __iter__(self):
        return (tuple(t.clone() for t in batch) for batch in self.made)


def objective(data=None, loss=None, **options) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    return Objective(model, loss or nn.CrossEntropyLoss(), cut([12]) if data is None else data, **options)


@pytest.mark.parametrize("sizes", [[5, 7], [1] * 12, [11, 1], [4, 4, 4]])
def test_data_have_one_hash_however_they_are_cut_and_carried(sizes):
    one = of_data(cut([12]))
    loader = DataLoader(TensorDataset(X, Y), batch_size=sizes[0])
    assert {of_data(cut(sizes)), of_data(Lazy(cut(sizes))), of_data(loader), refuse_changing(loader)} == {one}
    as_dicts = [{"x": x, "y": y} for x, y in cut(sizes)]
    assert of_data(as_dicts) == of_data([{"x": X, "y": Y}])
    with_words = [(x, y, [f"row {i}" for i in y.tolist()]) for x, y in cut(sizes)]
    assert of_data(with_words) == of_data([(X, Y, [f"row {i}" for i in Y.tolist()])])
    as_arrays = [(x, y.numpy()) for x, y in cut(sizes)]
    assert of_data(as_arrays) == of_data([(X, Y.numpy())])


@pytest.mark.parametrize(
    "other",
    [
        lambda: [(X.index_fill(0, torch.tensor([11]), 0.0), Y)],
        lambda: [(X, Y.roll(1))],
        lambda: [(X[[1, 0, *range(2, 12)]], Y[[1, 0, *range(2, 12)]])],
        lambda: [(X.double(), Y)],
        lambda: [(X.view(12, 3, 1), Y)],
        lambda: [(X[:11], Y[:11])],
        lambda: [(X, Y, torch.ones(12))],
        lambda: [(X, Y.float())],
        lambda: [(X.to_sparse(), Y)],
        lambda: [(X, Y, "words")],
    ],
)
def test_other_data_have_another_hash(other):
    assert of_data(other()) != of_data(cut([12]))


def test_tensors_of_every_kind_are_hashed():
    with warnings.catch_warnings(action="ignore"):  # they are in beta
        sparse = X.to_sparse_csr()
        nested = [torch.nested.nested_tensor([X[:2], X[:3]], layout=how) for how in (torch.strided, torch.jagged)]
    kinds = [
        sparse,
        torch.tensor(3.0),
        torch.empty(0, 3),
        torch.tensor([True, False]),
        X.to(torch.bfloat16),
        torch.complex(X, X).conj(),
        X.t(),
        nn.Parameter(X),
    ]
    assert len({of_data([(t,)]) for t in kinds} | {digest(t) for t in kinds}) == 2 * len(kinds)
    assert len({digest(t) for t in nested} | {of_data([(t,)]) for t in nested}) == 2
    assert digest(X.t()) == digest(X.t().contiguous())


def test_pixels_are_hashed_with_their_normalization():
    pixels = (255 * X.sigmoid()).to(torch.uint8).view(12, 1, 1, 3)
    split = Split(pixels, Y, (0.5,), (0.2,))
    assert of_data(split.batches(5)) == of_data(split.batches()) == split.content_hash()
    for other in (Split(pixels + 1, Y, (0.5,), (0.2,)), Split(pixels, Y, (0.4,), (0.2,)), Split(pixels, Y.roll(1))):
        assert other.content_hash() != split.content_hash()
    assert (
        Objective(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), nn.CrossEntropyLoss(), split.batches(5)).fingerprint()[
            "data"
        ]
        == split.content_hash()
    )


def of_temperature(temperature):
    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch[0]) / temperature, batch[1], reduction="none")

    return loss


class Tempered:
    def __init__(self, temperature):
        self._temperature = temperature

    def __call__(self, model, batch):
        return of_temperature(self._temperature)(model, batch)

    def method(self, model, batch):
        return self(model, batch)


def tempered(model, batch, temperature):
    return of_temperature(temperature)(model, batch)


@pytest.mark.parametrize(
    ("one", "same", "other", "named"),
    [
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), "label_smoothing"),
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(ignore_index=2), "ignore_index of"),
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.ones(3)), "weight of the loss"),
        (nn.MSELoss(), nn.MSELoss(), nn.L1Loss(), "name of the loss (MSELoss then, L1Loss now)"),
        (nn.MSELoss(reduction="sum"), nn.MSELoss(reduction="sum"), nn.MSELoss(), "reduction of the loss (sum then"),
        (of_temperature(2.0), of_temperature(2.0), of_temperature(3.0), "source of the loss"),
        (Tempered(2.0), Tempered(2.0), Tempered(3.0), "_temperature of the loss (2.0 then, 3.0 now)"),
        (Tempered(2.0).method, Tempered(2.0).method, Tempered(3.0).method, "source of the loss"),
        (*(partial(tempered, temperature=t) for t in (2.0, 2.0, 3.0)), "source of the loss"),
    ],
)
def test_a_loss_is_known_by_its_name_and_arguments(one, same, other, named):
    told, again, changed = ({"loss": of_loss(loss)} for loss in (one, same, other))
    assert differences(json.loads(json.dumps(plain(told))), again) == []
    (words,) = differences(told, changed)
    assert named in words


def test_a_loss_that_holds_the_model_does_not_change_with_its_weights():
    one = objective()
    model = one.model

    class WithModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, model, batch):
            return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    def closing_over_it(m, batch):
        return WithModel.forward(model, m, batch)

    before = [of_loss(loss, model=model) for loss in (WithModel(), closing_over_it)]
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert [of_loss(loss, model=model) for loss in (WithModel(), closing_over_it)] == before


def test_an_objective_sees_edits_and_nothing_else():
    batches = cut([12])
    one = objective(batches)
    before = one.fingerprint()
    with torch.no_grad():
        one.model[0].weight.mul_(2)
    assert one.fingerprint() == before
    assert objective(cut([5, 7]), microbatch=2).fingerprint() == before
    loader = DataLoader(TensorDataset(X.clone(), Y), batch_size=5)
    assert (lazy := objective(loader)).fingerprint() == before
    batches[0][0][3, 1] += 1
    assert one.fingerprint()["data"] != before["data"]
    loader.dataset.tensors[0][3, 1] += 1
    assert lazy.fingerprint()["data"] == one.fingerprint()["data"] != before["data"]
    assert differences(before, objective(mode="train").fingerprint()) == ["the mode (eval then, train now)"]
    assert differences(before, objective(dtype=torch.float64).fingerprint()) == [
        "the dtype (float32 then, float64 now)"
    ]


def test_buffers_and_frozen_weights_are_state():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    one = Objective(model, nn.CrossEntropyLoss(), cut([12]), params="0.weight")
    before = one.state_hash()
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert one.state_hash() == before
    for tensor in (model[0].bias, model[1].running_mean):
        with torch.no_grad():
            tensor.add_(1)
        assert one.state_hash() != before
        before = one.state_hash()


def test_an_analysis_says_it_by_split(tmp_path):
    objectives = {"train": objective(), "test": objective(cut([12], X + 1))}
    analysis = analyze(objectives, metrics=["loss"])
    told = analysis.objective["fingerprint"]
    assert told["data"] == {"train": of_data(cut([12])), "test": of_data(cut([12], X + 1))}
    assert told["loss"]["label_smoothing"] == 0.0
    analysis.save(tmp_path)
    document = json.loads((tmp_path / "analysis.json").read_text())
    assert differences(document["objective"]["fingerprint"], told) == []
    assert document["objective"]["fingerprint"] == told


@pytest.mark.parametrize(
    "then", [{}, [], {"data": 3, "problem": [], "loss": "a"}, {"problem": {"files": 1}, "model": None}]
)
def test_what_a_file_does_not_say_is_no_difference(then):
    now = objective().fingerprint() | {"data": {"a": "b"}, "problem": {"function": "f", "files": {"a.py": "c"}}}
    assert differences(then, now) == differences(now, then) == []


def test_random_states_stay(monkeypatch):
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, generator=torch.Generator().manual_seed(3))
    one = objective(loader)
    one._content = [], None  # as of one that was made by `over`
    before = torch.get_rng_state(), loader.generator.get_state()
    one.fingerprint()
    assert all(map(torch.equal, before, (torch.get_rng_state(), loader.generator.get_state())))


FILES = {
    "mine.py": "import os, numpy\nfrom parts import net\nimport helper\ndef f():\n    from late import x\n",
    "helper.py": "import torch\nfrom deeper import DEEP\n",
    "deeper.py": "DEEP = 1\n",
    "late.py": "x = 1\n",
    "parts/__init__.py": "",
    "parts/net.py": "from . import sibling\nfrom .sibling import y\n__import__('by_name')\n",
    "parts/sibling.py": "y = 1\n",
    "by_name.py": "",
    "unused.py": "",
    "train.py": "",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_problem_file_imports_counts(folder):
    before = sources(folder / "mine.py")
    assert set(before) == set(FILES) - {"unused.py", "train.py"}
    for name in before:
        file = folder / name
        text = file.read_text()
        file.write_text(text + "# changed\n")
        after = sources(folder / "mine.py")
        assert [one for one in before if before[one] != after[one]] == [name]
        file.write_text(text)
        os.utime(file)
    assert sources(folder / "mine.py") == before


def test_a_folder_may_move_and_be_called_from_anywhere(folder, tmp_path_factory, monkeypatch):
    before = sources(folder / "mine.py")
    moved = tmp_path_factory.mktemp("moved") / "there"
    folder.rename(moved)
    assert sources(moved / "mine.py") == before
    monkeypatch.chdir(moved / "parts")
    assert sources(type(moved)("../mine.py")) == before
    (moved / "link.py").symlink_to("mine.py")
    assert sources(moved / "link.py") == before


def test_code_of_one_s_own_elsewhere_counts_and_packages_do_not(folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "common").mkdir()
    (elsewhere / "common" / "__init__.py").write_text("from common.inner import z\n")
    (elsewhere / "common" / "inner.py").write_text("z = 1\n")
    (folder / ".venv" / "site-packages").mkdir(parents=True)
    (folder / ".venv" / "site-packages" / "theirs.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.syspath_prepend(folder / ".venv" / "site-packages")
    (folder / "mine.py").write_text("import common, theirs, torch, json, landscape\nexec(open('by_name.py').read())\n")
    assert list(sources(folder / "mine.py")) == ["mine.py", "by_name.py", "common/__init__.py", "common/inner.py"]


def test_a_text_that_is_no_python_is_a_text(folder):
    (folder / "mine.py").write_bytes(b"\xff import helper (")
    assert list(sources(folder / "mine.py")) == ["mine.py"]
    (folder / "mine.py").write_text(f"NAME = {'x' * 5000 + '.py'!r}\nfrom .none import a\nimport mine\n")
    assert list(sources(folder / "mine.py")) == ["mine.py"]


def test_numpy_batches_and_objects():
    class Graph:
        def __init__(self, edges):
            self.edges = edges

    batches = [[(X, Graph(torch.tensor(edge))) for edge in edges] for edges in ([1, 2], [1, 2], [1, 3])]
    a, b, c = map(of_data, batches)
    assert a == b != c
    total = DataHash()
    assert total.add((X, np.array(["a", "b"]))) == DataHash().add((X, np.array(["a", "b"])))

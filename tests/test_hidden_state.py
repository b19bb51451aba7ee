"""What a model, a loss or data keep beside weights: put back, noticed when edited, or refused by name."""

import logging
import random
import warnings
from collections import deque, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from landscape import Hessian, Objective
from landscape.attributes import Attributes
from tests.cases import relative_error


class Keeping(nn.Module):
    """A layer with what its forward pass keeps: ``keep(module, x, weight) -> the weight to use``."""

    def __init__(self, keep, **attributes):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))
        self.keep = keep
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return x @ self.keep(self, x, self.weight)


def batches(*sizes):
    draws = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 3, dtype=torch.float64, generator=draws), torch.randint(3, (n,), generator=draws))
        for n in sizes or (5, 4)
    ]


def objective_of(model, data=None, **options):
    return Objective(model, nn.CrossEntropyLoss(), data or batches(), **options)


def counted(m, x, w):
    m.calls += 1
    return w


def counted_in_tensors(m, x, w):
    m.calls += 1
    m.array += 1
    m.nested["list"].append(x)
    return w


def cached(m, x, w):
    if m.kept is None:
        m.kept = w.exp()
    return m.kept


def cached_in_dictionary(m, x, w):
    if "w" not in m.kept:
        m.kept["w"] = w.exp()
    return m.kept["w"]


def cached_where_there_is_none(m, x, w):
    if not hasattr(m, "kept"):
        m.kept = w.exp()
    return m.kept


class Kept:
    """An object that is no module."""

    w = None


def cached_in_an_object(m, x, w):
    if m.kept.w is None:
        m.kept.w = w.exp()
    return m.kept.w


def reference():
    return objective_of(Keeping(lambda m, x, w: w))


def test_attributes_that_serve_nothing_are_put_back():
    tensor, array = torch.zeros(2), np.zeros(2)
    model = Keeping(counted_in_tensors, calls=tensor, array=array, nested={"list": []})
    objective = objective_of(model)
    product = Hessian(objective) @ objective.vector()
    assert model.calls is tensor
    assert not tensor.any()
    assert not array.any()
    assert model.nested == {"list": []}
    assert relative_error(product, Hessian(reference()) @ objective.vector()) < 1e-12


@pytest.mark.parametrize(
    "model",
    [
        lambda: Keeping(cached, kept=None),
        lambda: Keeping(cached_in_dictionary, kept={}),
        lambda: Keeping(cached_where_there_is_none),
        lambda: Keeping(cached_in_an_object, kept=Kept()),
    ],
)
def test_a_cache_is_made_anew_at_every_point_and_refused_where_a_call_before_filled_it(model):
    made, expected = model(), objective_of(Keeping(lambda m, x, w: w.exp()))
    objective = objective_of(made)
    v = objective.vector()
    assert objective.value(v + 0.1) == pytest.approx(expected.value(v + 0.1), rel=1e-12)
    assert relative_error(Hessian(objective) @ v, Hessian(expected) @ v) < 1e-10
    with torch.no_grad():
        made(batches()[0][0])
    with pytest.raises(ValueError, match=r"(kept|'w').*filled by an earlier call"):
        objective_of(made)


def test_kept_tensors_that_are_constants_or_looked_at_by_nobody_are_no_caches():
    def keep(m, x, w):
        m.features = x
        m.mask_of = m.mask if m.mask is not None else m.features
        return w * m.scale * m.mask

    model = Keeping(keep, features=None, mask=torch.eye(3, dtype=torch.float64), scale=torch.tensor(2.0))
    model(batches()[0][0])
    expected = objective_of(Keeping(lambda m, x, w: w * 2 * torch.eye(3)))
    assert objective_of(model).value() == pytest.approx(expected.value(), rel=1e-12)


@pytest.mark.parametrize("sizes", [(5,), (5, 4)])
def test_memory_of_earlier_calls_is_refused_by_name(sizes):
    def keep(m, x, w):
        m.calls += 1
        return w * m.calls

    with pytest.raises(ValueError, match=r"remembers earlier calls \(attributes calls\)"):
        objective_of(Keeping(keep, calls=0), batches(*sizes))

    def initialized_by_the_first(m, x, w):
        if m.scale is None:
            m.scale = x.std()
        return w / m.scale

    if len(sizes) > 1:
        with pytest.raises(ValueError, match=r"differ.*remembers.*scale"):
            objective_of(Keeping(initialized_by_the_first, scale=None), batches(*sizes))


def test_a_loss_that_is_no_module_may_keep_things_and_not_depend_on_them():
    class Loss:
        calls = 0

        def __init__(self, factor):
            self.factor = factor

        def __call__(self, model, batch):
            self.calls += 1
            return cross_entropy(model(batch[0]), batch[1], reduction="none") * self.calls**self.factor

    harmless = Loss(0)
    assert Objective(Keeping(lambda m, x, w: w), harmless, batches()).value() == reference().value()
    assert harmless.calls == 0
    with pytest.raises(ValueError, match=r"remembers earlier calls \(attributes calls\)"):
        Objective(Keeping(lambda m, x, w: w), Loss(1), batches())


def test_noise_in_a_later_batch_is_refused():
    with pytest.raises(ValueError, match=r"batch 1 differ.*random"):
        objective_of(Keeping(lambda m, x, w: w + torch.randn(3, 3) * (len(x) == 4)))


class Merging(Keeping):
    """Adds an update to its weight when told so, and asks whether it trains where it should ask whether it did."""

    def __init__(self, *, asks):
        super().__init__(lambda m, x, w: w if (not m.training if asks else m.merged) else w + torch.eye(3))
        self.merged = False

    def train(self, mode=True):
        if self.merged == mode:
            self.weight.data += -torch.eye(3) if mode else torch.eye(3)
            self.merged = not mode
        return super().train(mode)


def test_modes_that_act_are_refused_where_the_loss_depends_on_their_acts():
    model = Merging(asks=True)
    before = model.weight.clone()
    with pytest.raises(
        ValueError, match=r"train\(\) or eval\(\) of Merging.*Call model.train\(\) and then model.eval\(\)"
    ):
        objective_of(model)
    assert torch.equal(model.weight, before)
    assert (model.merged, model.training) == (False, True)
    value = objective_of(model.eval()).value()
    assert value == pytest.approx(objective_of(Merging(asks=False)).value(), rel=1e-12)


# --- edits -----------------------------------------------------------------------------------------------------------


def weights_of_classes(model, loss, data):
    loss.weight[:] = torch.tensor([3.0, 0.2, 1.0])


def new_weights_of_classes(model, loss, data):
    loss.weight = torch.tensor([3.0, 0.2, 1.0], dtype=torch.float64)


def targets(model, loss, data):
    data[0][1].fill_(2)


def ignored(model, loss, data):
    data[0][1][:2] = -100


def inputs(model, loss, data):
    data[1][0].mul_(3)


def a_batch(model, loss, data):
    data[1] = batches(7)[0]


def one_batch_less(model, loss, data):
    data.pop()


def a_number(model, loss, data):
    model.factor = 2.0


def a_hook(model, loss, data):
    model.register_forward_hook(lambda m, x, y: 2 * y)


@pytest.mark.parametrize(
    "edit",
    [weights_of_classes, new_weights_of_classes, targets, ignored, inputs, a_batch, one_batch_less, a_number, a_hook],
)
def test_edits_of_loss_data_and_attributes_are_noticed(edit):
    model = Keeping(lambda m, x, w: w * m.factor, factor=1.0)
    loss, data = nn.CrossEntropyLoss(weight=torch.ones(3, dtype=torch.float64)), batches()
    objective = Objective(model, loss, data)
    before, H = objective.value(), Hessian(objective)
    v = objective.vector()
    _ = H @ v
    edit(model, loss, data)
    fresh = Objective(model, loss, data)
    assert objective.value() == fresh.value() != before
    assert (objective.total_weight, objective.num_examples) == (fresh.total_weight, fresh.num_examples)
    assert torch.equal(objective.gradient(), fresh.gradient())
    assert torch.equal(H @ v, Hessian(fresh) @ v)


def test_edits_of_the_tensors_of_a_loader_are_noticed():
    x, y = batches(9)[0]
    objective = objective_of(Keeping(lambda m, x, w: w), DataLoader(TensorDataset(x, y), batch_size=4))
    before = objective.value()
    x.mul_(2)
    assert objective.value() != before


# --- rows ------------------------------------------------------------------------------------------------------------


def side(use):
    """A loss with a third tensor in the batch."""
    return lambda model, batch: cross_entropy(use(model, batch[0], batch[2]), batch[1], reduction="none")


CUT = {
    "averaged": side(lambda model, x, t: model(x + t.mean(0))),
    "multiplied": side(lambda model, x, t: model(x @ t[:3])),
    "neighbours": side(lambda model, x, t: model(x) + model(x).mean(0)),
}


@pytest.mark.parametrize("num_rows", [5, 9])
@pytest.mark.parametrize("use", CUT)
def test_rows_that_are_no_examples_are_not_cut(use, num_rows):
    (x, y), model = batches(num_rows)[0], Keeping(lambda m, x, w: w)
    batch = (x, y, torch.randn(num_rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    objective = Objective(model, CUT[use], [batch])
    for refused in (lambda: Objective(model, CUT[use], [batch], microbatch=2), lambda: next(objective.recut(2))):
        with pytest.raises(ValueError, match=r"cut along (the|its) rows"):
            refused()


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 9])
def test_rows_that_are_examples_are_cut(num_rows):
    (x, y), model = batches(num_rows)[0], Keeping(lambda m, x, w: w)
    weights, table = torch.rand(num_rows, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    table = torch.cat([table] * 4)  # of 12 rows: nobody's

    def loss(model, batch):
        return batch[2] * cross_entropy(model(batch[0] @ batch[3][:3]), batch[1], reduction="none")

    data = [(x, y, weights, table)]
    expected = Objective(model, loss, data).value()
    assert Objective(model, loss, data, microbatch=2).value() == pytest.approx(expected, rel=1e-12)


def test_containers_within_themselves_are_put_back():
    module = nn.Linear(1, 1)
    module.loop = [1]
    module.loop.append(module.loop)
    module.seen = {1, 2}
    before = Attributes(module)
    module.loop.append(3)
    module.seen.discard(1)
    module.more = 4
    assert not before.unchanged()
    assert set(before.put_back()) >= {"more", "a list"}
    assert before.unchanged()
    assert (len(module.loop), module.seen, hasattr(module, "more")) == (2, {1, 2}, False)


class Focal(nn.Module):
    """A criterion of the user's own."""

    def __init__(self):
        super().__init__()
        self.gamma, self.reduction = 2.0, "mean"

    def forward(self, outputs, targets):
        losses = cross_entropy(outputs, targets, reduction="none")
        if self.gamma > 9:
            raise TypeError("gamma")
        losses = losses * (1 - torch.exp(-losses)) ** self.gamma
        return losses if self.reduction == "none" else losses.mean()


EDITS = {
    "label_smoothing": (nn.CrossEntropyLoss, {"label_smoothing": 0.5}),
    "ignore_index": (nn.CrossEntropyLoss, {"ignore_index": 1}),
    "weight": (nn.CrossEntropyLoss, {"weight": torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)}),
    "delta": (nn.HuberLoss, {"delta": 0.1}),
    "gamma": (Focal, {"gamma": 0.5}),
}


def on_batches(criterion, model):
    """Of all examples together, and with targets of the right kind."""
    data = batches()
    if isinstance(criterion, nn.HuberLoss):
        data = [(x, x.roll(1, 1)) for x, _ in data]
    return data, criterion(model(torch.cat([x for x, _ in data])), torch.cat([y for _, y in data]))


@pytest.mark.parametrize("what", EDITS)
def test_edits_of_a_criterion_are_seen(what):
    make, edit = EDITS[what]
    model, criterion = nn.Linear(3, 3).double(), make()
    objective = Objective(model, criterion, on_batches(criterion, model)[0])
    H, v = Hessian(objective), torch.ones(12, dtype=torch.float64)
    before = [objective.value(), objective.gradient(), H @ v]
    for name, value in edit.items():
        setattr(criterion, name, value)
    found = [objective.value(), objective.gradient(), H @ v]
    mean = on_batches(criterion, model)[1]
    (expected,) = torch.autograd.grad(mean, [model.weight])
    assert found[0] == pytest.approx(mean.item(), rel=1e-12)
    assert relative_error(found[1][:9], expected.flatten()) < 1e-12
    fresh = Objective(model, criterion, objective.data)
    assert relative_error(found[2], Hessian(fresh) @ v) < 1e-12
    assert found[0] != before[0]


def test_a_criterion_s_reduction_is_read_when_it_is_needed_and_left_as_it_is():
    model, criterion = nn.Linear(3, 3).double(), nn.MSELoss()
    data = [(x, x.roll(1, 1)) for x, _ in batches()]
    objective, before = Objective(model, criterion, data), list(vars(criterion))
    mean = objective.value()
    criterion.reduction = "sum"
    assert objective.value() == pytest.approx(3 * mean, rel=1e-12)
    assert criterion.reduction == "sum"
    assert list(vars(criterion)) == before


def test_a_criterion_is_left_as_it_is_by_errors_too():
    model, criterion = nn.Linear(3, 3).double(), Focal()
    objective = Objective(model, criterion, batches())
    criterion.gamma = 10.0
    with pytest.raises(ValueError, match="gamma"):
        objective.value()
    assert criterion.reduction == "mean"
    del criterion.reduction
    type(criterion).reduction = "mean"
    criterion.gamma = 2.0
    try:
        assert Objective(model, criterion, batches()).value() == pytest.approx(on_batches(criterion, model)[1].item())
        assert "reduction" not in vars(criterion)
    finally:
        del type(criterion).reduction


def tie(model):
    model[2].weight = model[0].weight


def remove(model):
    del model[2]


def norm(model):
    torch.nn.utils.parametrizations.weight_norm(model[2])


def old_norm(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(model[2])


def reshape(model):
    model[2].weight = nn.Parameter(model[2].weight.detach()[:2])


@pytest.mark.parametrize("change", [tie, remove, norm, old_norm, reshape])
@pytest.mark.parametrize("act", [lambda o: o.value(), lambda o: o.gradient(), lambda o: Hessian(o) @ torch.ones(24)])
def test_parameters_that_are_others_than_at_first_are_refused_by_name(change, act):
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    objective = objective_of(model)
    change(model)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'2\.weight'.*make a new one") as caught:
            act(objective)
        assert "\n" not in str(caught.value)
    if change is not reshape:
        act_anew = Objective(model, nn.CrossEntropyLoss(), batches())
        assert act_anew.value() == pytest.approx(on_batches(nn.CrossEntropyLoss(), model)[1].item())


def test_parameters_that_are_no_longer_tied_are_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    tie(model)
    objective = objective_of(model)
    model[2].weight = nn.Parameter(model[2].weight.detach().clone())
    with pytest.raises(ValueError, match=r"'0\.weight' is not tied to '2\.weight' any more"):
        objective.value()


def test_frozen_parameters_may_be_tied_meanwhile():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 3)).double()
    for layer in (model[0], model[2]):
        layer.requires_grad_(False)
    objective = objective_of(model)
    tie(model)
    assert objective.value() == pytest.approx(on_batches(nn.CrossEntropyLoss(), model)[1].item(), rel=1e-12)


# --- wherever it is kept ---------------------------------------------------------------------------------------------


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("w",)

    def __init__(self, w=None):
        self.w = w


@dataclass(frozen=True)
class Frozen:
    """An object whose attributes are set once."""

    w: object


Pair = namedtuple("Pair", "w other")


class Within:
    """A cache with what is in it: ``take(kept) -> weight or None`` and ``put(module, kept, weight)``."""

    def __init__(self, make, take, put):
        self.make, self.take, self.put = make, take, put

    def model(self):
        def keep(m, x, w):
            found = self.take(m.kept)
            if found is None:
                found = w.exp()
                self.put(m, m.kept, found)
            return found

        return Keeping(keep, kept=self.make())


def attribute(wrap):
    return lambda m, kept, w: setattr(m, "kept", wrap(w))


PLACES = {
    "tuple": Within(lambda: None, lambda kept: kept and kept[0], attribute(lambda w: (w, 1))),
    "empty tuple": Within(lambda: (), lambda kept: kept[0] if len(kept) else None, attribute(lambda w: (w,))),
    "named tuple": Within(lambda: None, lambda kept: kept and kept.w, attribute(lambda w: Pair(w, [w]))),
    "dictionary made by a call": Within(lambda: None, lambda kept: kept and kept["w"], attribute(lambda w: {"w": w})),
    "object made by a call": Within(lambda: None, lambda kept: kept and kept.w, attribute(Frozen)),
    "dictionary of tuples": Within(
        dict, lambda kept: kept.get("w", (None,))[0], lambda m, kept, w: kept.update(w=(w, w))
    ),
    "deque": Within(lambda: deque(maxlen=1), lambda kept: kept[0] if kept else None, lambda m, kept, w: kept.append(w)),
    "array": Within(
        lambda: None,
        lambda kept: None if kept is None else torch.from_numpy(kept),
        attribute(lambda w: w.detach().numpy()),
    ),
    "slots": Within(Slotted, lambda kept: kept.w, lambda m, kept, w: setattr(kept, "w", w)),
    "object in an object": Within(
        lambda: Slotted(Kept()), lambda kept: kept.w.w, lambda m, kept, w: setattr(kept.w, "w", w)
    ),
    "object in a list": Within(lambda: [Kept()], lambda kept: kept[0].w, lambda m, kept, w: setattr(kept[0], "w", w)),
    "long list": Within(lambda: [0] * 150 + [None], lambda kept: kept[-1], lambda m, kept, w: kept.__setitem__(-1, w)),
    "set in a namespace": Within(
        lambda: SimpleNamespace(of=({}, set())),
        lambda kept: next(iter(kept.of[1]), None),
        lambda m, kept, w: kept.of[1].add(w),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_cache_is_found_wherever_it_is_kept(place):
    made, expected = PLACES[place].model(), objective_of(Keeping(lambda m, x, w: w.exp()))
    if place != "array":  # which has no gradient
        objective = objective_of(made)
        v = objective.vector()
        assert objective.value(v + 0.1) == pytest.approx(expected.value(v + 0.1), rel=1e-12)
        assert relative_error(objective.gradient(), expected.gradient()) < 1e-12
        assert PLACES[place].take(made.kept) is None
    with torch.no_grad():
        made(batches()[0][0])
    with pytest.raises(ValueError, match="filled by an earlier call"):
        objective_of(made)
    assert PLACES[place].take(made.kept) is not None


def test_a_cache_that_all_modules_of_a_class_share_is_found():
    class Sharing(nn.Linear):
        store: ClassVar = {}

        def forward(self, x):
            return x @ self.store.setdefault("w", self.weight.exp()).T

    model = Sharing(3, 3).double()
    objective_of(model).gradient()
    assert not Sharing.store
    with torch.no_grad():
        model(batches()[0][0])
    with pytest.raises(ValueError, match="'w' was filled by an earlier call"):
        objective_of(model)


def test_a_number_is_a_cache_too_where_a_call_filled_it_and_none_where_it_is_a_constant_or_told():
    def keep(m, x, w):
        assert m.scale > 0
        m.told = w.norm().item()
        if m.kept is None:
            m.kept = w.norm().item()
        return w * m.scale / m.kept

    expected = objective_of(Keeping(lambda m, x, w: 2 * w / w.norm().item()))
    model = Keeping(keep, kept=None, scale=2.0, told=0.0)
    assert objective_of(model).value() == pytest.approx(expected.value(), rel=1e-12)
    model(batches()[0][0])
    with pytest.raises(ValueError, match="'kept' was filled by an earlier call"):
        objective_of(model)
    model.kept = None
    assert objective_of(model).value() == pytest.approx(expected.value(), rel=1e-12)


@pytest.mark.parametrize(
    ("wrap", "take"),
    [
        (lambda t: (t, 1), lambda kept: kept[0]),
        (lambda t: Pair(1, (t,)), lambda kept: kept.other[0]),
        (lambda t: [Slotted(t)], lambda kept: kept[0].w),
        (lambda t: {"of": {t}}, lambda kept: next(iter(kept["of"]))),
    ],
)
def test_tensors_are_constants_or_counters_wherever_they_are_kept(wrap, take):
    def keep(m, x, w):
        take(m.counter).add_(1)
        return w * take(m.constant)

    constant, counter = torch.full((3, 3), 2.0, dtype=torch.float64), torch.zeros(1)
    model = Keeping(keep, constant=wrap(constant), counter=wrap(counter))
    model(batches()[0][0])
    kept = model.constant
    expected = objective_of(Keeping(lambda m, x, w: 2 * w))
    assert relative_error(objective_of(model).gradient(), expected.gradient()) < 1e-12
    assert model.constant is kept
    assert take(model.counter) is counter
    assert counter.item() == 1


def test_containers_within_each_other_and_objects_of_others_are_no_trouble():
    class Trainer:
        def __init__(self, model):
            self.model, self.data, self.log = model, batches(), logging.getLogger("landscape.tests")
            self.more = [self, (self, {"again": self})]

    model = Keeping(counted, calls=0)
    model.trainer = Trainer(model)
    before = Attributes(model)
    model.trainer.more[1][1]["new"] = 3
    assert before.put_back() == ["new"]
    assert objective_of(model).value() == reference().value()


def test_what_a_model_remembers_in_numbers_is_not_asked_for_one_by_one():
    def keep(m, x, w):
        m.calls += 1
        return w * m.scale[0][0]

    one = torch.ones(1, dtype=torch.float64)
    model = Keeping(keep, calls=0, scale=[(one,)], memory=deque((one.clone(), i) for i in range(5000)))
    assert len(Attributes(model).places()) <= 1000
    assert objective_of(model, batches(4)).value() == objective_of(Keeping(lambda m, x, w: w), batches(4)).value()
    assert len(model.memory) == 5000


# --- random numbers, batches ------------------------------------------------------------------------------------------


def states(m):
    return m.torch.get_state().tolist(), m.numpy.bit_generator.state, str(m.old.get_state()), m.python.getstate()


@pytest.mark.parametrize("drawn", ["torch", "numpy", "old", "python", None])
def test_generators_of_a_model_are_put_back_and_their_noise_refused(drawn):
    def keep(m, x, w):
        draws = {
            "torch": torch.rand(1, generator=m.torch).item(),
            "numpy": m.numpy.normal(),
            "old": m.old.rand(),
            "python": m.python.random(),
        }
        return w * draws.get(drawn, 1.0)

    model = Keeping(
        keep,
        torch=torch.Generator(),
        numpy=np.random.default_rng(0),
        old=np.random.RandomState(0),
        python=random.Random(0),
    )
    before = states(model)
    if drawn is None:
        assert relative_error(objective_of(model).gradient(), reference().gradient()) < 1e-12
    else:
        with pytest.raises(ValueError, match="is random"):
            objective_of(model)
    assert states(model) == before


class Buffered(nn.Linear):
    """A layer with a buffer, for which losses are asked for again."""

    def __init__(self):
        super().__init__(3, 3, dtype=torch.float64)
        self.register_buffer("shift", torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        return super().forward(x.pop("x") if isinstance(x, dict) else x + self.shift)


def popped_from_a_dictionary(model, batch):
    y = batch["inner"].pop("labels")
    return cross_entropy(model(**batch["inner"]), y, reduction="none")


def popped_from_a_list(model, batch):
    y = batch.pop()
    return cross_entropy(model(*batch), y, reduction="none")


@pytest.mark.parametrize(
    ("loss", "made", "options"),
    [
        (popped_from_a_dictionary, lambda x, y: {"inner": {"x": x, "labels": y}}, {}),
        (popped_from_a_list, lambda x, y: [x, y], {"microbatch": 2}),
        (nn.CrossEntropyLoss(), lambda x, y: ({"x": x}, y), {}),
        (
            lambda model, batch: popped_from_a_list(model, batch).mean(),
            lambda x, y: [x, y],
            {"weight": lambda batch: len(batch[1])},
        ),
    ],
)
def test_entries_taken_from_a_batch_are_there_again_for_everybody_else(loss, made, options):
    torch.manual_seed(0)
    model, data = Buffered(), [made(*batch) for batch in batches()]
    before = str(data)
    objective, expected = Objective(model, loss, data, **options), objective_of(model)
    assert objective.value() == pytest.approx(expected.value(), rel=1e-12)
    assert relative_error(Hessian(objective) @ objective.vector(), Hessian(expected) @ expected.vector()) < 1e-10
    assert str(data) == before


@pytest.mark.parametrize(("size", "dropped"), [(4, True), (3, False)])
def test_a_batch_sampler_that_drops_examples_is_refused(size, dropped):
    x, y = batches(9)[0]
    sampler = BatchSampler(SequentialSampler(range(9)), size, drop_last=True)
    loader = DataLoader(TensorDataset(x, y), batch_sampler=sampler)
    if dropped:
        with pytest.raises(ValueError, match="drop_last"):
            objective_of(nn.Linear(3, 3).double(), loader)
    else:
        assert objective_of(nn.Linear(3, 3).double(), loader).num_examples == 9


def test_weights_that_are_computed_once_are_refused():
    plain = nn.Linear(3, 3).double()
    model = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3).double())
    with torch.nn.utils.parametrize.cached():
        assert objective_of(plain).value() > 0
        with pytest.raises(ValueError, match="outside of it"):
            objective_of(model)
    objective = objective_of(model)
    with torch.nn.utils.parametrize.cached(), pytest.raises(ValueError, match="outside of it"):
        objective.gradient()
    assert objective.gradient().any()

"""The objective is the mean over all examples: torch's own, however the data are batched; all else it refuses."""

import copy
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

from landscape import Hessian
from landscape.objective import MeasurementError, NonFiniteError, Objective
from tests.cases import CASES, dense_gradient, flat_loss, make, relative_error

BATCHINGS = [(64, None), (16, None), (7, None), (1, None), (None, 1), (None, 8), (16, 5), (16, 100)]


def objective_of(case, size=None, **arguments):
    return Objective(case.model, case.criterion, case.batches(size), **arguments)


# --- the function ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_value_gradient_and_losses_are_torch_s_own(name):
    case = make(name)
    objective = objective_of(case, 16)
    outputs = case.model(case.inputs)
    assert objective.value() == pytest.approx(case.criterion(outputs, case.targets).item(), rel=1e-13)
    assert relative_error(objective.gradient(), dense_gradient(case.model, case.criterion, case.data)) < 1e-12
    one_by_one = torch.stack([case.criterion(o[None], t[None]) for o, t in zip(outputs, case.targets, strict=True)])
    torch.testing.assert_close(objective.losses(), one_by_one.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_it_describes_itself(name):
    case = make(name)
    objective = objective_of(case, 16)
    trainable = {k: p for k, p in case.model.named_parameters() if p.requires_grad}
    assert list(objective.names) == list(trainable)
    assert [tuple(s) for s in objective.layout.shapes] == [tuple(p.shape) for p in trainable.values()]
    assert objective.num_params == sum(p.numel() for p in trainable.values())
    assert objective.num_examples == len(case.inputs)
    expected = torch.cat([p.detach().flatten() for p in trainable.values()])
    assert torch.equal(objective.vector(), expected)


def test_vector_is_a_copy():
    case = make("mlp_tanh")
    objective = objective_of(case)
    objective.vector().zero_()
    assert objective.vector().abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize(("size", "microbatch"), BATCHINGS)
@pytest.mark.parametrize("name", CASES)
def test_batching_changes_nothing(name, size, microbatch):
    case = make(name)
    whole, parts = objective_of(case), objective_of(case, size, microbatch=microbatch)
    assert parts.value() == pytest.approx(whole.value(), rel=1e-12)
    assert relative_error(parts.gradient(), whole.gradient()) < 1e-12
    assert relative_error(parts.losses(), whole.losses()) < 1e-12
    assert parts.num_examples == whole.num_examples


def test_microbatch_bounds_the_rows_of_a_forward():
    case = make("mlp_tanh")
    rows = []
    case.model.register_forward_hook(lambda _module, args, _output: rows.append(len(args[0])))
    objective = objective_of(case, 34, microbatch=5)  # up to 16 rows are tried whole
    objective.value()
    objective.gradient()
    assert max(rows) <= 5


def test_at_evaluates_elsewhere_without_going_there():
    case = make("attention")
    objective = objective_of(case, 16)
    loss, here = flat_loss(case.model, case.criterion, case.data)
    there = here + 0.3 * torch.randn(here.shape, dtype=here.dtype, generator=torch.Generator().manual_seed(0))
    value = objective.value()
    assert objective.value(at=there) == pytest.approx(loss(there).item(), rel=1e-12)
    expected = dense_gradient(case.model, case.criterion, case.data, there)
    assert relative_error(objective.gradient(at=there), expected) < 1e-12
    assert objective.losses(at=there).mean().item() == pytest.approx(loss(there).item(), rel=1e-12)
    assert objective.value() == value
    assert torch.equal(objective.vector(), here)


@pytest.mark.parametrize("shape", [(3,), (1, 142)])
def test_at_of_another_shape_is_refused(shape):
    objective = objective_of(make("mlp_tanh"))
    with pytest.raises(ValueError, match=str(objective.num_params)):
        objective.value(at=torch.zeros(shape, dtype=torch.float64))


def test_eval_mode_is_the_default_whatever_the_flags():
    case = make("conv_batchnorm")
    expected = objective_of(case, 16).value()
    case.model.train()
    assert objective_of(case, 16).value() == expected


def test_a_buffer_that_forward_writes_is_written_on_a_copy():
    class Counting(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * self.calls

    model = Counting(3, 2)
    objective = Objective(model, nn.MSELoss(), [(torch.ones(4, 3), torch.zeros(4, 2))] * 2)
    assert objective.value() == objective.value(at=objective.vector())
    assert model.calls == 0


def test_train_mode_is_a_choice_where_it_is_deterministic():
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (2 if self.training else 1)

    model = Doubled(3, 2).double()
    batch = (torch.ones(4, 3).double(), torch.zeros(4, 2).double())
    values = [Objective(model.eval(), nn.MSELoss(), [batch], mode=mode).value() for mode in ("eval", "train")]
    assert values[1] == pytest.approx(4 * values[0])


# --- losses ----------------------------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.7], dtype=torch.float64)
CROSS_ENTROPIES = {
    "weight": {"weight": WEIGHTS},
    "ignore_index": {"ignore_index": 2},
    "label_smoothing": {"label_smoothing": 0.1},
    "weight and ignore_index": {"weight": WEIGHTS, "ignore_index": 0},
    "weight and label_smoothing": {"weight": WEIGHTS, "label_smoothing": 0.2},
    "all": {"weight": WEIGHTS, "ignore_index": 1, "label_smoothing": 0.3},
    "padding": {"ignore_index": -100},
}


@pytest.mark.parametrize("size", [64, 16, 7, 1])
@pytest.mark.parametrize("arguments", CROSS_ENTROPIES.values(), ids=CROSS_ENTROPIES)
def test_cross_entropy_is_torch_s_mean_over_the_full_data(arguments, size):
    case = make("mlp_tanh")
    case.targets[14:28] = arguments.get("ignore_index", case.targets[0])  # whole batches of size 7 and 1 are ignored
    criterion = nn.CrossEntropyLoss(**arguments)
    objective = Objective(case.model, criterion, case.batches(size))
    assert objective.value() == pytest.approx(criterion(case.model(case.inputs), case.targets).item(), rel=1e-12)
    assert relative_error(objective.gradient(), dense_gradient(case.model, criterion, case.data)) < 1e-12


@pytest.mark.parametrize("microbatch", [None, 2])
@pytest.mark.parametrize("size", [12, 5, 1])
def test_padded_tokens_do_not_count(size, microbatch):
    torch.manual_seed(0)
    model = nn.Conv1d(2, 3, 1).double()
    inputs, targets = torch.randn(12, 2, 6).double(), torch.randint(3, (12, 6))
    for row, length in enumerate([6, 1, 3, 2, 6, 6, 4, 0, 5, 1, 1, 2]):
        targets[row, length:] = -100
    criterion = nn.CrossEntropyLoss()
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    objective = Objective(model, criterion, batches, microbatch=microbatch)
    assert objective.value() == pytest.approx(criterion(model(inputs), targets).item(), rel=1e-12)
    assert relative_error(objective.gradient(), dense_gradient(model, criterion, (inputs, targets))) < 1e-12


PROBABILITIES = torch.rand(70, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
CRITERIA = {
    "MSELoss": (nn.MSELoss(), None),
    "L1Loss": (nn.L1Loss(), None),
    "SmoothL1Loss": (nn.SmoothL1Loss(beta=0.5), None),
    "HuberLoss": (nn.HuberLoss(delta=0.5), None),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), PROBABILITIES),
    "BCEWithLogitsLoss weighted": (
        nn.BCEWithLogitsLoss(weight=WEIGHTS[:3], pos_weight=WEIGHTS[1:]),
        PROBABILITIES,
    ),
    "CrossEntropyLoss of probabilities": (nn.CrossEntropyLoss(), PROBABILITIES / PROBABILITIES.sum(1, keepdim=True)),
    "CrossEntropyLoss of probabilities, weighted and smoothed": (
        nn.CrossEntropyLoss(weight=WEIGHTS[:3], label_smoothing=0.1),
        PROBABILITIES / PROBABILITIES.sum(1, keepdim=True),
    ),
    "NLLLoss weighted": (nn.NLLLoss(weight=WEIGHTS[:3], ignore_index=1), PROBABILITIES.argmax(1)),
    "KLDivLoss": (nn.KLDivLoss(reduction="batchmean"), PROBABILITIES),
    "PoissonNLLLoss": (nn.PoissonNLLLoss(), PROBABILITIES),
    "MultiMarginLoss": (nn.MultiMarginLoss(), PROBABILITIES.argmax(1)),
    "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss(), PROBABILITIES.round()),
}


@pytest.mark.parametrize(("criterion", "targets"), CRITERIA.values(), ids=CRITERIA)
def test_other_criteria_are_torch_s_mean_too(criterion, targets):
    case = make("mlp_relu")
    targets = case.targets if targets is None else targets
    batches = list(zip(case.inputs.split(16), targets.split(16), strict=True))
    objective = Objective(case.model, criterion, batches)
    assert objective.value() == pytest.approx(criterion(case.model(case.inputs), targets).item(), rel=1e-12)
    assert relative_error(objective.gradient(), dense_gradient(case.model, criterion, (case.inputs, targets))) < 1e-12


def test_the_criterion_itself_is_left_alone():
    case = make("mlp_tanh")
    objective_of(case, 16).value()
    assert case.criterion.reduction == "mean"


@pytest.mark.parametrize("microbatch", [None, 5])
def test_a_scalar_loss_with_its_weight_is_the_weighted_mean(microbatch):
    case = make("mlp_tanh")

    def loss(model, batch):
        return cross_entropy(model(batch[0]), batch[1])

    objective = Objective(case.model, loss, case.batches(16), weight=lambda batch: len(batch[1]), microbatch=microbatch)
    assert objective.value() == pytest.approx(objective_of(case).value(), rel=1e-12)
    assert relative_error(objective.gradient(), objective_of(case).gradient()) < 1e-12


# --- batches ---------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")

SHAPES_OF_BATCHES = {
    "dict": (lambda x, y: {"x": x, "y": y}, lambda b: (b["x"], b["y"])),
    "list": (lambda x, y: [x, y], lambda b: b),
    "namedtuple": (Pair, lambda b: (b.x, b.y)),
    "nested": (
        lambda x, y: {"in": {"halves": [x[:, :2], (x[:, 2:],)]}, "y": y, "name": "digits", "nothing": None},
        lambda b: (torch.cat([b["in"]["halves"][0], b["in"]["halves"][1][0]], 1), b["y"]),
    ),
}


@pytest.mark.parametrize("microbatch", [None, 5])
@pytest.mark.parametrize(("pack", "unpack"), SHAPES_OF_BATCHES.values(), ids=SHAPES_OF_BATCHES)
def test_batches_of_any_shape(pack, unpack, microbatch):
    case = make("mlp_tanh")

    def loss(model, batch):
        x, y = unpack(batch)
        assert x.dtype == torch.float64, "floating inputs follow dtype="
        assert y.dtype == torch.int64, "labels do not"
        return cross_entropy(model(x), y, reduction="none")

    batches = [pack(x.float(), y) for x, y in case.batches(16)]
    expected = case.criterion(case.model(case.inputs.float().double()), case.targets).item()
    objective = Objective(case.model, loss, batches, dtype=torch.float64, microbatch=microbatch)
    assert objective.value() == pytest.approx(expected, rel=1e-12)
    assert objective.num_examples == 70


def test_a_data_loader_is_data():
    case = make("mlp_tanh")
    objective = Objective(case.model, case.criterion, DataLoader(TensorDataset(*case.data), batch_size=16))
    assert objective.value() == pytest.approx(objective_of(case).value(), rel=1e-13)


# --- parameters and precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_upcast_measures_the_upcast_model_and_leaves_the_model(dtype):
    case = make("conv_batchnorm")
    case.model.to(dtype)
    reference = copy.deepcopy(case.model).double()
    before = {k: (id(t), t.dtype, t.clone()) for k, t in [*case.model.named_parameters(), *case.model.named_buffers()]}
    batches = [(x.float(), y) for x, y in case.batches(16)]
    objective = Objective(case.model, case.criterion, batches, dtype=torch.float64)
    data = (case.inputs.float().double(), case.targets)
    assert objective.value() == pytest.approx(case.criterion(reference(data[0]), data[1]).item(), rel=1e-12)
    assert objective.gradient().dtype == torch.float64
    assert relative_error(objective.gradient(), dense_gradient(reference, case.criterion, data)) < 1e-12
    for k, t in [*case.model.named_parameters(), *case.model.named_buffers()]:
        assert (id(t), t.dtype) == before[k][:2]
        assert torch.equal(t, before[k][2])


@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("edit", ["p.data.add_", "p.add_", "load_state_dict", "assign", "running_mean"])
def test_edits_of_the_weights_are_seen(edit, dtype):
    case = make("conv_batchnorm")
    objective = objective_of(case, 16, dtype=dtype)
    before = objective.value()
    objective.gradient()
    edit_weights(case.model, edit)
    expected = case.criterion(case.model(case.inputs), case.targets).item()
    assert abs(expected - before) > 1e-3
    assert objective.value() == pytest.approx(expected, rel=1e-12)
    assert relative_error(objective.gradient(), dense_gradient(case.model, case.criterion, case.data)) < 1e-12


def edit_weights(model, how):
    """Change the weights (or statistics) of ``conv_batchnorm`` behind the back of whoever holds it."""
    weight = model[1][0].weight
    if how == "p.data.add_":
        weight.data.add_(0.3)
    elif how == "p.add_":
        with torch.no_grad():
            weight.add_(0.3)
    elif how == "load_state_dict":
        model.load_state_dict({k: v + 0.2 if v.is_floating_point() else v for k, v in model.state_dict().items()})
    elif how == "assign":
        model[1][0].weight = nn.Parameter(weight.detach() + 0.3)
    elif how == "running_mean":
        model[0][1].running_mean += 0.4


@pytest.mark.parametrize(
    ("glob", "names"),
    [("0.*", ["0.weight", "0.bias"]), ("*.bias", ["0.bias", "2.bias", "4.bias"]), ("4.weight", ["4.weight"])],
)
def test_params_globs_select(glob, names):
    case = make("mlp_tanh")
    objective = objective_of(case, 16, params=glob)
    assert list(objective.names) == names
    whole = dict(zip([k for k, _ in case.model.named_parameters()], _split(objective_of(case)), strict=True))
    expected = torch.cat([whole[k].flatten() for k in names])
    assert relative_error(objective.gradient(), expected) < 1e-12
    assert objective.value() == pytest.approx(objective_of(case).value(), rel=1e-13)


def _split(objective):
    return objective.layout.split(objective.gradient())


def test_a_glob_that_matches_nothing_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"encoder\.\*.*4\.weight"):
        objective_of(make("mlp_tanh"), params="encoder.*")


def test_a_model_all_frozen_is_refused():
    case = make("mlp_tanh")
    case.model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"requires_grad|frozen|trainable"):
        objective_of(case)


def test_a_module_used_twice_keeps_its_parameters():
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.BatchNorm1d(3), layer).eval()
    before, weight = {name: t.clone() for name, t in model.state_dict().items()}, layer.weight
    batch = (torch.randn(4, 3), torch.arange(4) % 3)
    objective = Objective(model, nn.CrossEntropyLoss(), [batch])
    there = objective.vector() + 1
    moved = copy.deepcopy(model)
    nn.utils.vector_to_parameters(there, moved.parameters())
    assert objective.value(there) == pytest.approx(nn.CrossEntropyLoss()(moved(batch[0]), batch[1]).item(), rel=1e-6)
    assert layer.weight is weight
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_tied_parameters_count_once_and_unused_ones_have_zero_gradient():
    tied, unused = objective_of(make("tied"), 16), objective_of(make("unused"), 16)
    assert list(tied.names).count("0.weight") == 1
    assert "2.weight" not in tied.names
    pieces = dict(zip(unused.names, _split(unused), strict=True))
    assert pieces["spare.weight"].abs().sum() == 0
    assert pieces["first.weight"].abs().sum() > 0


# --- refusals --------------------------------------------------------------------------------------------------------


class FunctionalDropout(nn.Linear):
    def forward(self, x):
        return dropout(super().forward(x), 0.5, training=True)


class Noisy(Dataset):
    """An augmentation: another image at every look."""

    def __init__(self, noise):
        self.noise = noise

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return torch.full((5,), float(i)) / 40 + 0.1 * self.noise(), i % 4


class Growing:
    """Re-iterable, but no two passes are alike."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter([(torch.ones(4, 5), torch.arange(4))] * self.passes)


def plain():
    return nn.Sequential(nn.Linear(5, 4))


def batches():
    return [(torch.linspace(-1, 1, 50).view(10, 5), torch.arange(10) % 4)] * 2


def loader(**arguments):
    x = torch.linspace(-1, 1, 185).view(37, 5)
    return DataLoader(TensorDataset(x, torch.arange(37) % 4), batch_size=16, **arguments)


def noisy(noise):
    return DataLoader(Noisy(noise), batch_size=16)


def mean_loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


def matrix_loss(model, batch):
    return (model(batch[0]) - 1).square()  # (n, classes)


class Outputs(nn.Linear):
    def __init__(self):
        super().__init__(5, 4)

    def forward(self, x):
        return {"scores": super().forward(x)}


class Sigmoids(Outputs):
    def forward(self, x):
        return super().forward(x)["scores"].sigmoid()


CE = nn.CrossEntropyLoss()
COLUMN = nn.Sequential(nn.Linear(5, 1), nn.LogSigmoid())
SIGNS = (torch.linspace(-1, 1, 15).view(3, 5), torch.tensor([1.0, -1.0, 1.0]))
REFUSALS = {  # what it is: (model, loss, data, keywords, what the error names, what it says to do)
    "dropout": (nn.Sequential(plain(), nn.Dropout(0.5)), CE, batches(), {"mode": "train"}, "(?i)dropout", "eval"),
    "batchnorm": (nn.Sequential(plain(), nn.BatchNorm1d(4)), CE, batches(), {"mode": "train"}, "BatchNorm", "eval"),
    "functional dropout": (FunctionalDropout(5, 4), CE, batches(), {}, "(?i)dropout|random|differ", "training|dropout"),
    "shuffle": (plain(), CE, loader(shuffle=True), {}, "(?i)shuffl", "shuffle=False"),
    "random sampler": (plain(), CE, loader(sampler=RandomSampler(range(37))), {}, "(?i)shuffl|Random", "shuffle"),
    "torch noise": (plain(), CE, noisy(lambda: torch.randn(5)), {}, "(?i)augment|differ", "augment"),
    "numpy noise": (plain(), CE, noisy(lambda: float(np.random.randn())), {}, "(?i)augment|differ", "augment"),
    "python noise": (plain(), CE, noisy(lambda: random.gauss(0, 1)), {}, "(?i)augment|differ", "augment"),
    "drop_last": (plain(), CE, loader(drop_last=True), {}, "drop_last", "drop_last=False"),
    "generator": (plain(), CE, (b for b in batches()), {}, "(?i)generator|iterator|once", "list"),
    "iterator": (plain(), CE, iter(batches()), {}, "(?i)iterator|once", "list"),
    "growing": (plain(), CE, Growing(), {}, "(?i)pass|differ", "."),
    "empty": (plain(), CE, [], {}, "(?i)empty|no batch|no example", "."),
    "empty batch": (plain(), CE, [(torch.zeros(0, 5), torch.zeros(0).long())], {}, "(?i)empty|no .*example", "."),
    "scalar": (plain(), mean_loss, batches(), {}, "(?i)scalar", "weight="),
    "matrix": (plain(), matrix_loss, batches(), {}, r"\(10, 4\)|\[10, 4\]", r"\(n,\)"),
    "broadcast": (plain(), nn.MSELoss(), [(torch.ones(6, 5), torch.ones(6))], {}, r"\(6, 4\)|\[6, 4\]|\(6,\)", "shape"),
    "not a pair": (plain(), CE, [{"x": torch.ones(2, 5), "y": torch.arange(2)}], {}, "dict", "loss"),
    "output": (Outputs(), CE, batches(), {}, "dict", "loss"),
    "width": (plain(), CE, [(torch.ones(4, 3), torch.arange(4))], {}, r"Batch 0.*inputs of shape \(4, 3\)", "mat1"),
    "too few targets": (plain(), CE, [(torch.ones(4, 5), torch.arange(3))], {}, r"\(4, 4\).*\(3,\)", "batch_size"),
    "classes": (plain(), CE, [*batches(), (torch.ones(2, 5), torch.tensor([1, 4]))], {}, "Batch 2.*1 to 4", "0 to 3"),
    "shapes of BCE": (Sigmoids(), nn.BCELoss(), [(torch.ones(3, 5), torch.ones(3))], {}, r"\(3, 4\).*\(3,\)", "size"),
    "hinge broadcasts": (COLUMN, nn.HingeEmbeddingLoss(), [SIGNS], {}, r"\(3, 1\).*\(3,\)", "same shape"),
    "Kullback-Leibler broadcasts": (COLUMN, nn.KLDivLoss(), [SIGNS], {}, r"\(3, 1\).*\(3,\)", "same shape"),
    "soft margin broadcasts": (COLUMN, nn.SoftMarginLoss(), [SIGNS], {}, r"\(3, 1\).*\(3,\)", "shape"),
    "targets broadcast": (nn.Linear(5, 3), nn.HingeEmbeddingLoss(), [SIGNS], {}, r"\(3, 3\).*\(3,\)", "same shape"),
    "lazy": (nn.Sequential(nn.LazyLinear(4)), CE, batches(), {}, "lazy", "once"),
    "no parameters": (nn.ReLU(), CE, batches(), {}, "no trainable parameters", "."),
    "ignored": (plain(), CE, [(torch.ones(2, 5), torch.full((2,), -100))], {}, "ignores", "at least one"),
    "integers": (plain(), lambda m, b: m(b[0]).argmax(1), batches(), {}, "int64", "floating"),
    "meta": (nn.Linear(5, 4, device="meta"), CE, batches(), {}, "meta", "Load"),
    "negative weight": (plain(), mean_loss, batches(), {"weight": lambda b: -1}, "-1", "or more"),
    "mode": (plain(), CE, batches(), {"mode": "evil"}, "evil", "eval.*train|train.*eval"),
    "microbatch": (plain(), CE, batches(), {"microbatch": 0}, "microbatch", "1"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_refused_by_name_with_a_remedy(what):
    model, loss, data, keywords, name, remedy = REFUSALS[what]
    with pytest.raises(ValueError, match=name) as error:
        Objective(model, loss, data, **keywords).value()
    assert error.match(remedy)
    assert "\n" not in str(error.value)


class Forward(torch.autograd.Function):
    """Without a backward."""

    @staticmethod
    def forward(_, x):
        return x.clone()


class Unrolled(nn.Linear):
    def forward(self, x):
        return Forward.apply(super().forward(x))


class Statistics(nn.Linear):
    """Batch normalization whose statistics are parameters, which its kernel cannot differentiate by."""

    def forward(self, x):
        return nn.functional.batch_norm(super().forward(x), self.bias, self.weight[:, 0].abs())


@pytest.mark.parametrize("model", [Unrolled(5, 4), Statistics(5, 4)])
def test_what_has_no_gradient_has_a_loss_and_says_so(model):
    objective = Objective(model, CE, batches())
    assert objective.value() > 0
    with pytest.raises(MeasurementError, match="No gradient") as error:
        objective.gradient()
    assert "\n" not in str(error.value)
    with pytest.raises(MeasurementError, match="No gradient"):
        _ = Hessian(objective) @ objective.vector()


class Complex(nn.Module):
    def __init__(self, real, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        w = torch.randn(5, 4, 2, dtype=torch.float64).to(dtype)
        self.w = nn.Parameter(w if real else torch.view_as_complex(w))

    def forward(self, x):
        w = self.w if self.w.is_complex() else torch.view_as_complex(self.w)
        return (x.to(w.dtype) @ w).abs()


class Words(nn.Module):
    def __init__(self, sparse, bag):
        super().__init__()
        torch.manual_seed(0)
        self.words = (nn.EmbeddingBag if bag else nn.Embedding)(7, 3, sparse=sparse, dtype=torch.float64)

    def forward(self, x):
        h = self.words(x).tanh()
        return h if h.ndim == 2 else h.mean(1)


REALS = [(x.double(), y) for x, y in batches()]
IDS = [(torch.arange(12).view(4, 3) % 7, torch.arange(4) % 3)]
AS_PLAIN = {
    "complex parameters": (lambda: (Complex(False), Complex(True)), REALS),
    "complex parameters in double": (lambda: (Complex(False, torch.float32), Complex(True, torch.float32)), REALS),
    "sparse gradients": (lambda: (Words(True, False), Words(False, False)), IDS),
    "sparse gradients of bags": (lambda: (Words(True, True), Words(False, True)), IDS),
    "a script": (lambda: (torch.jit.script(scripted := plain().double()), scripted), REALS),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("what", AS_PLAIN)
def test_unusual_parameters_and_programs_are_as_plain_ones(what):
    models, data = AS_PLAIN[what]
    found, expected = (Objective(model, CE, data, dtype=torch.float64) for model in models())
    v = expected.vector()
    assert torch.equal(found.vector(), v)
    assert found.value(v + 0.1) == pytest.approx(expected.value(v + 0.1), rel=1e-12)
    assert relative_error(found.gradient(), expected.gradient()) < 1e-12
    assert relative_error(Hessian(found) @ v, Hessian(expected) @ v) < 1e-6  # bags have no second derivative


def test_torch_func_inside_of_a_model_has_products():
    def loss(model, batch):
        slopes = torch.func.vmap(torch.func.jacrev(lambda row: model(row).tanh().sum()))(batch[0])
        return slopes.square().sum(1)

    model = nn.Linear(5, 4).double()
    objective = Objective(model, loss, REALS)

    def by_hand(w):
        params = {"weight": w[:20].view(4, 5), "bias": w[20:]}
        slopes = torch.func.vmap(
            torch.func.jacrev(lambda row: torch.func.functional_call(model, params, row).tanh().sum())
        )(REALS[0][0])
        return slopes.square().sum(1).mean()

    w = objective.vector()
    hessian = torch.autograd.functional.hessian(by_hand, w)
    assert relative_error(Hessian(objective) @ torch.ones_like(w), hessian @ torch.ones_like(w)) < 1e-10


# --- not finite ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "word"), [(float("nan"), "nan"), (float("inf"), "inf|nan")])
@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_non_finite_loss_names_its_batch(index, bad, word):
    case = make("mlp_relu")
    data = case.batches(16)
    data[index][1][3] = bad
    with pytest.raises(NonFiniteError, match=rf"(?i){word}.*batch {index}\b") as error:
        Objective(case.model, case.criterion, data).value()
    assert isinstance(error.value, ArithmeticError)


def test_a_loss_that_becomes_non_finite_is_noticed_too():
    case = make("mlp_relu")
    objective = objective_of(case, 16)
    case.model[0].weight.data[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="nan"):
        objective.value()
    with pytest.raises(NonFiniteError, match="nan"):
        objective.gradient()

"""Data: how batches are cut, nested and loaded, side tensors, loaders of all kinds, and what is changed on the way."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import weakref
from collections import namedtuple
from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.zoo.case import Case, Model, net

Pair = namedtuple("Pair", "x y")


@dataclass
class Record:
    x: Tensor
    y: Tensor
    name: str = "record"


class Graphs(nn.Module):
    """A graph convolution with a sum over neighbours, and a class for every node."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x, edge_index):
        h = torch.tanh(self.a(x))
        return self.b(h + torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]]))


class Store(MutableMapping):
    """What a graph of torch_geometric keeps its tensors in; it knows the graph."""

    def __init__(self, graph, mapping) -> None:
        self.mapping, self.graph = mapping, weakref.ref(graph)

    def __getitem__(self, key):
        return self.mapping[key]

    def __setitem__(self, key, value):
        self.mapping[key] = value

    def __delitem__(self, key):
        del self.mapping[key]

    def __iter__(self):
        return iter(self.mapping)

    def __len__(self):
        return len(self.mapping)

    def __copy__(self):
        return Store(self.graph(), dict(self.mapping))


class Graph:
    """As ``torch_geometric.data.Data``: attributes that lie in a store, and a call that lists them."""

    def __init__(self, **tensors) -> None:
        self.__dict__["store"] = Store(self, tensors)

    def __getattr__(self, name):
        try:
            return self.__dict__["store"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self.store[name] = value

    def __call__(self):
        return iter(self.store.items())


class Scene:
    """Objects in an object, which one of them knows, as boxes of a picture."""

    def __init__(self, **parts) -> None:
        self.__dict__.update(parts)
        self.itself = self


class Infinite(IterableDataset):
    def __init__(self, x, y) -> None:
        self.x, self.y = x, y

    def __iter__(self):
        return zip(self.x, self.y, strict=True)


class Noisy(TensorDataset):
    """Other inputs in every pass."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + 0.1 * torch.randn_like(x), y


class Changing:
    """A re-iterable whose second pass is another."""

    def __init__(self, batches) -> None:
        self.given, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter([(x + 0.1 * (self.passes % 2), y) for x, y in self.given])


class Generated:
    def __init__(self, batches) -> None:
        self.given = batches

    def __iter__(self):
        yield from self.given


def _xy(n: int = 9, features: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(n, features).double(), torch.randint(3, (n,))


def _loader(data=TensorDataset, **options):
    return lambda: DataLoader(data(*_xy()), batch_size=options.pop("batch_size", 4), **options)


def _cut(*sizes: int, make=lambda x, y: (x, y)):
    def batches():
        x, y = _xy(sum(sizes))
        return [make(*pair) for pair in zip(x.split(sizes), y.split(sizes), strict=True)]

    return batches


def _case(name: str, batches, *, act=nn.ReLU, model=None, loss=None, **more) -> Case:
    """Batches as they are made, in float64: a loader is not cast."""
    made = model or (lambda: net(act()))
    return Case(
        f"data/{name}", lambda: made().double(), loss or nn.CrossEntropyLoss(), batches=batches, dtype=None, **more
    )


def _by(get):
    """The cross-entropy of batches from which ``get`` takes inputs and targets."""

    def loss(model, batch):
        x, y = get(batch)
        return F.cross_entropy(model(x), y, reduction="none")

    return loss


def _mask_loss(model, batch):
    x, y, table = batch
    return F.cross_entropy(model(x @ table), y, reduction="none")


def _mean_of_side(model, batch):
    x, y, side = batch
    return F.cross_entropy(model(x + side.mean(0)), y, reduction="none")


def _side(n: int, rows: int):
    """Batches with a side tensor of so many rows, which is no example's."""

    def batches():
        x, y = _xy(n)
        return [(x, y, torch.randn(rows, 3).double()[:3] if rows >= 3 else torch.randn(rows, 3).double())]

    return batches


def _square_side():
    x, y = _xy(3)
    return [(x, y, torch.randn(3, 3).double())]


def _tokens(model, batch):
    z = model(batch[0])
    return F.cross_entropy(z.flatten(0, 1), batch[1].flatten(), reduction="none")


def _graphs(make):
    """Two graphs, of 6 nodes and 8 edges and of 4 and 4."""
    return lambda: [
        make(x=torch.randn(n, 3).double(), edge_index=torch.randint(n, (2, e)), y=torch.randint(3, (n,)))
        for n, e in ((6, 8), (4, 4))
    ]


def _node_losses(model, batch):
    get = batch.get if isinstance(batch, dict) else lambda name: getattr(batch, name)
    return F.cross_entropy(model(get("x"), get("edge_index")), get("y"), reduction="none")


def _sets(*sizes):
    return [torch.randn(n, 3).double() for n in sizes], torch.arange(len(sizes)) % 3


def _of_sets():
    def pooled(m, sets):
        return m.b(torch.stack([torch.tanh(m.a(one)).sum(0) for one in sets]))

    return Model(pooled, a=nn.Linear(3, 3), b=nn.Linear(3, 3))


def _ragged():
    return [(torch.randn(n, t, 3).double(), torch.randint(3, (n, t))) for n, t in ((2, 4), (3, 2), (1, 5))]


CASES = [
    _case("one batch", _cut(9)),
    _case("batches of one", _cut(*[1] * 5)),
    _case("one example", _cut(1)),
    _case("one example, tanh", _cut(1), act=nn.Tanh),
    _case("two examples", _cut(2)),
    _case("uneven batches", _cut(7, 1, 3)),
    _case("uneven batches, tanh", _cut(7, 1, 3), act=nn.Tanh),
    _case("the same example again and again", lambda: [(torch.ones(6, 3).double(), torch.zeros(6, dtype=torch.long))]),
    _case("the same batch twice", lambda: [(lambda b: [b, b])(_xy(4))][0]),
    _case("an empty batch between", lambda: [_xy(4), _xy(0), _xy(3)]),
    _case("no batch", list),
    _case("inputs of zero", lambda: [(torch.zeros(4, 3).double(), torch.arange(4) % 3)], act=nn.Tanh),
    _case("large inputs", lambda: [(1e3 * torch.randn(4, 3).double(), torch.arange(4) % 3)], act=nn.Sigmoid),
    _case("small inputs", lambda: [(1e-3 * torch.randn(4, 3).double(), torch.arange(4) % 3)]),
    _case("an infinite input", lambda: [(torch.full((4, 3), torch.inf).double(), torch.arange(4) % 3)]),
    _case("a nan input", lambda: [(torch.full((4, 3), torch.nan).double(), torch.arange(4) % 3)]),
    _case("targets out of range", lambda: [(torch.randn(4, 3).double(), torch.arange(4))]),
    _case("lists for pairs", _cut(5, 4, make=lambda x, y: [x, y])),
    _case("named tuples", _cut(5, 4, make=Pair), loss=_by(lambda b: (b.x, b.y))),
    _case("named tuples for a criterion", _cut(5, 4, make=Pair)),
    _case("dictionaries", _cut(5, 4, make=lambda x, y: {"x": x, "y": y}), loss=_by(lambda b: (b["x"], b["y"]))),
    _case("dictionaries for a criterion", _cut(5, 4, make=lambda x, y: {"x": x, "y": y})),
    _case("dataclasses", _cut(5, 4, make=Record), loss=_by(lambda b: (b.x, b.y))),
    _case("dataclasses in microbatches", _cut(5, 4, make=Record), loss=_by(lambda b: (b.x, b.y)), options={"microbatch": 2}),
    _case("three tensors for a criterion", _cut(5, 4, make=lambda x, y: (x, x, y))),
    _case("nested", _cut(5, 4, make=lambda x, y: ((x[:, :1], {"rest": x[:, 1:]}), y)), loss=_by(lambda b: (torch.cat([b[0][0], b[0][1]["rest"]], 1), b[1]))),
    _case("nested in microbatches", _cut(5, 4, make=lambda x, y: ((x[:, :1], {"rest": x[:, 1:]}), y)), loss=_by(lambda b: (torch.cat([b[0][0], b[0][1]["rest"]], 1), b[1])), options={"microbatch": 2}),
    _case("labels in a list", _cut(5, 4, make=lambda x, y: (x, y.tolist())), loss=_by(lambda b: (b[0], torch.tensor(b[1])))),
    _case("labels in a list in microbatches", _cut(5, 4, make=lambda x, y: (x, y.tolist())), loss=_by(lambda b: (b[0], torch.tensor(b[1]))), options={"microbatch": 2}),
    _case("a set of tensors", _cut(5, 4, make=lambda x, y: frozenset([x])), loss=lambda m, b: m(next(iter(b)))[:, 0] ** 2),
    _case("numpy arrays", _cut(5, 4, make=lambda x, y: (x.numpy(), y.numpy())), loss=_by(lambda b: (torch.from_numpy(b[0]), torch.from_numpy(b[1])))),
    _case("a tensor for a batch", _cut(5, 4, make=lambda x, y: x), loss=lambda m, b: m(b).square().sum(1)),
    _case("a tensor for all", lambda: torch.randn(9, 3).double(), loss=lambda m, b: m(b).square()),
    _case("batches in a tuple", lambda: tuple(_cut(5, 4)())),
    _case("a generator function's batches", lambda: Generated(_cut(5, 4)())),
    _case("a generator", lambda: (batch for batch in _cut(5, 4)())),
    _case("a zip", lambda: zip(torch.randn(2, 4, 3).double(), torch.randint(3, (2, 4)), strict=True)),
    _case("None", lambda: None),
    _case("a loader", _loader()),
    _case("a loader, tanh", _loader(), act=nn.Tanh),
    _case("a loader that shuffles", _loader(shuffle=True)),
    _case("a loader that drops", _loader(drop_last=True)),
    _case("a loader that adds noise", _loader(Noisy)),
    _case("a loader of an iterable", _loader(Infinite)),
    _case("a loader that collates by itself", lambda: DataLoader(TensorDataset(*_xy()), batch_size=4, collate_fn=lambda rows: tuple(map(torch.stack, zip(*rows, strict=True))))),
    _case("a loader that collates with noise", lambda: DataLoader(TensorDataset(*_xy()), batch_size=4, collate_fn=lambda rows: (torch.stack([x + 0.1 * torch.randn(3) for x, _ in rows]), torch.stack([y for _, y in rows])))),
    _case("a loader without batches", lambda: DataLoader(TensorDataset(*_xy()), batch_size=None), model=lambda: Model(lambda m, x: m.n(x[None] if x.ndim == 1 else x), n=net(nn.ReLU())), loss=_by(lambda b: (b[0], b[1].reshape(-1)))),
    _case("other data in every second pass", lambda: Changing(_cut(5, 4)())),
    _case("microbatches", _cut(5, 4), options={"microbatch": 2}),
    _case("microbatches, tanh", _cut(5, 4), act=nn.Tanh, options={"microbatch": 2}),
    _case("microbatches of one", _cut(5, 4), options={"microbatch": 1}),
    _case("microbatches of all", _cut(5, 4), options={"microbatch": 100}),
    _case("microbatches with class weights", _cut(5, 4), loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]).double()), options={"microbatch": 2}),
    _case("microbatches that a batch mean notices", _cut(9), act=nn.Tanh, loss=lambda m, b: (m(b[0]) - m(b[0]).mean(0)).square().sum(1), options={"microbatch": 3}),
    _case("microbatches of a scalar loss", _cut(5, 4), loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]), options={"microbatch": 2, "weight": lambda b: len(b[0])}),
    _case("side table", _side(5, 3), loss=_mask_loss, options={"microbatch": 2}),
    _case("side table with as many rows as examples", _square_side, loss=_mask_loss, options={"microbatch": 2}),
    _case("side table with as many rows, whole", _square_side, loss=_mask_loss),
    _case("side table with as many rows, first", lambda: [(t, x, y) for x, y, t in _square_side()], loss=lambda m, b: _mask_loss(m, (b[1], b[2], b[0])), options={"microbatch": 2}),
    _case("side rows that are averaged", lambda: [(*_xy(5), torch.randn(5, 3).double())], loss=_mean_of_side, options={"microbatch": 2}),
    _case("side rows that are averaged, tanh", lambda: [(*_xy(5), torch.randn(5, 3).double())], act=nn.Tanh, loss=_mean_of_side, options={"microbatch": 2}),
    _case("side rows that are averaged, whole", lambda: [(*_xy(5), torch.randn(5, 3).double())], loss=_mean_of_side),
    _case("class weights in the batch", lambda: [(*_xy(3), torch.tensor([1.0, 2.0, 0.5]).double())], loss=lambda m, b: F.cross_entropy(m(b[0]), b[1], weight=F.pad(b[2], (0, 3 - len(b[2]))), reduction="none"), options={"microbatch": 2}),
    _case("adjacency of the batch", lambda: [(torch.randn(4, 3).double(), torch.arange(4) % 3, torch.rand(4, 4).double())], loss=lambda m, b: F.cross_entropy(b[2] @ m(b[0]), b[1], reduction="none")),
    _case("adjacency of the batch in microbatches", lambda: [(torch.randn(4, 3).double(), torch.arange(4) % 3, torch.rand(4, 4).double())], loss=lambda m, b: F.cross_entropy(b[2][:, : len(b[0])] @ m(b[0]), b[1], reduction="none"), options={"microbatch": 2}),
    _case("graphs", _graphs(dict), model=Graphs, loss=_node_losses),
    _case("graphs as objects", _graphs(Graph), model=Graphs, loss=_node_losses),
    _case("graphs as objects, cast", _graphs(Graph), model=lambda: Graphs(), loss=_node_losses, options={"dtype": torch.float64}),
    _case("graphs as objects in microbatches", _graphs(Graph), model=Graphs, loss=_node_losses, options={"microbatch": 2}),
    _case("graphs of which some nodes count", lambda: [{**one, "counts": torch.arange(len(one["x"])) % 2 == 0} for one in _graphs(dict)()], model=Graphs, loss=lambda m, b: _node_losses(m, b)[b["counts"]]),
    _case("graphs pooled", _graphs(Graph), model=Graphs, loss=lambda m, b: m(b.x, b.edge_index).sum(0, keepdim=True).square().mean(1)),
    _case("objects in objects", _cut(5, 4, make=lambda x, y: Scene(picture=Scene(x=x), y=y)), loss=_by(lambda b: (b.picture.x, b.y))),
    _case("objects in objects in microbatches", _cut(5, 4, make=lambda x, y: Scene(picture=Scene(x=x), y=y)), loss=_by(lambda b: (b.picture.x, b.y)), options={"microbatch": 2}),
    _case("edits of an object's tensor", _graphs(Graph), model=Graphs, loss=_node_losses, edit=lambda model, loss, batches: batches[0].x.mul_(2)),
    _case("sets of all sizes", lambda: [_sets(2, 5, 3, 1), _sets(4, 4, 4)], model=_of_sets),
    _case("sets of all sizes in microbatches", lambda: [_sets(4, 4, 4), _sets(2, 5, 3, 1)], model=_of_sets, options={"microbatch": 2}),
    _case("sets and targets in pairs", lambda: [list(zip(*_sets(3, 1, 2), strict=True))], model=_of_sets, loss=lambda m, b: F.cross_entropy(m([x for x, _ in b]), torch.stack([y for _, y in b]), reduction="none")),
    _case("nested tensors", lambda: [(torch.nested.nested_tensor(_sets(2, 3, 1)[0], layout=torch.jagged), torch.arange(3))], model=lambda: Model(lambda m, x: m.s(x.unbind()), s=_of_sets())),
    _case("several inputs", lambda: [(*_xy(5), torch.randn(5, 3).double())], model=lambda: Model(lambda m, x, z: m.b(torch.tanh(m.a(x)) * z), a=nn.Linear(3, 3), b=nn.Linear(3, 3)), loss=lambda m, b: F.cross_entropy(m(b[0], b[2]), b[1], reduction="none"), options={"microbatch": 2}),
    _case("several inputs for a criterion", lambda: [((x, x), y) for x, y in [_xy(5)]], model=lambda: Model(lambda m, x, z: m.a(x) * z, a=nn.Linear(3, 3))),
    _case("keywords of the model", lambda: [{"x": x, "z": x, "y": y} for x, y in [_xy(5)]], model=lambda: Model(lambda m, x, z: torch.tanh(m.a(x)) * z, a=nn.Linear(3, 3)), loss=lambda m, b: F.cross_entropy(m(z=b["z"], x=b["x"]), b["y"], reduction="none"), options={"microbatch": 2}),
    _case("tokens", _ragged, loss=_tokens),
    _case("tokens, tanh", _ragged, act=nn.Tanh, loss=_tokens),
    _case("tokens in microbatches", _ragged, loss=_tokens, options={"microbatch": 1}),
    _case("weights in the batch", lambda: [(*_xy(5), torch.rand(5).double())], loss=lambda m, b: b[2] * F.cross_entropy(m(b[0]), b[1], reduction="none")),
    _case("weights in the batch, one of them zero", lambda: [(*_xy(5), torch.arange(5).double())], loss=lambda m, b: b[2] * F.cross_entropy(m(b[0]), b[1], reduction="none")),
    _case("an unweighted scalar of three batches", _cut(5, 4, 2), loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]), options={"weight": lambda b: 1.0}),
    _case("weights that are negative", _cut(5, 4), loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]), options={"weight": lambda b: len(b[0]) - 4.5}),
    _case("inputs that need gradients", lambda: [(torch.randn(5, 3).double().requires_grad_(), torch.arange(5) % 3)]),
    _case("inputs changed in place by the model", _cut(5, 4), model=lambda: Model(lambda m, x: m.n(x.mul_(1.01)), n=net(nn.Tanh()))),
    _case("inputs changed in place by the loss", _cut(5, 4), loss=lambda m, b: F.cross_entropy(m(b[0].add_(0.01)), b[1], reduction="none")),
    _case("inputs of another dtype", lambda: [(torch.randint(5, (5, 3)), torch.arange(5) % 3)], model=lambda: Model(lambda m, x: m.n(x.double()), n=net(nn.ReLU()))),
    _case("sparse inputs", lambda: [(torch.eye(3).double()[[0, 1, 2, 1]].to_sparse(), torch.tensor([0, 1, 2, 2]))], model=lambda: Model(lambda m, x: F.relu(torch.sparse.mm(x, m.w)) @ m.v, w=torch.randn(3, 3), v=torch.randn(3, 3))),
    _case("inputs made under inference mode", lambda: _inferred(_cut(5, 4))),
    _case("inputs made under inference mode, tanh", lambda: _inferred(_cut(5, 4)), act=nn.Tanh),
    _case("inputs of no dimension", lambda: [(torch.tensor(2.0).double(), torch.tensor([1]))], model=lambda: Model(lambda m, x: m.n(x.reshape(1, 1).expand(1, 3)), n=net(nn.Tanh()))),
    _case("overlapping inputs", lambda: [(torch.randn(1, 3).double().expand(4, 3), torch.arange(4) % 3)]),
    _case("fewer targets than inputs", lambda: [(torch.randn(4, 3).double(), torch.arange(3))]),
]  # fmt: skip


def _inferred(make):
    with torch.inference_mode():
        return make()

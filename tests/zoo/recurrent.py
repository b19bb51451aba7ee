"""Recurrent networks, embeddings, sequences: whatever is used more than once in an example, and time in the batch."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from tests.zoo.case import Apply, Case, Model, ids


def _case(name: str, model, **more) -> Case:
    return Case(f"recurrent/{name}", model, **({"x": (3, 2)} | more))


def _last(kind, *args, **more):
    """A recurrent module over (n, 3, 2), and a classifier on its last output."""
    size = more.pop("size", 2)
    return lambda: Model(
        lambda m, x: m.fc(m.r(x)[0][:, -1]), r=kind(2, *args, batch_first=True, **more), fc=nn.Linear(size, 3)
    )


def _words(function, **more):
    """Embeddings of 5 words in 2 dimensions, what is made of (n, 3, 2), and a classifier on 2 features."""
    return lambda: Model(lambda m, x: m.fc(function(m.e(x))), e=nn.Embedding(5, 2, **more), fc=nn.Linear(2, 3))


def _mean(h):
    return h.mean(1)


class Cell(nn.Module):
    """x_t to tanh(W x_t + U h), step by step."""

    def __init__(self, act=torch.tanh) -> None:
        super().__init__()
        self.w, self.u, self.fc, self.act = nn.Linear(2, 2), nn.Linear(2, 2, bias=False), nn.Linear(2, 3), act

    def forward(self, x):
        h = x.new_zeros(len(x), 2)
        for t in range(x.shape[1]):
            h = self.act(self.w(x[:, t]) + self.u(h))
        return self.fc(h)


class Remembering(Cell):
    """Keeps its last hidden state as an attribute, as stateful language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.last = None

    def forward(self, x):
        h = F.relu(self.w(x).sum(1))
        self.last = h.detach()
        return self.fc(h)


class Carrying(Remembering):
    """... and starts from it in the next call."""

    def forward(self, x):
        start = 0.0 if self.last is None else self.last.mean()
        h = torch.tanh(self.w(x).sum(1) + start)
        self.last = h.detach()
        return self.fc(h)


def _packed(*lengths):
    """Batches of packed sequences of so many steps."""
    return [
        (rnn.pack_sequence([torch.randn(k, 2) for k in each], enforce_sorted=False), torch.arange(len(each)) % 3)
        for each in lengths
    ]


def _of_packed(kind):
    """A recurrent module over packed sequences, and a classifier on its last hidden state."""

    def last(m, x):
        h = m.r(x)[1]
        return m.fc((h[0] if isinstance(h, tuple) else h)[-1])

    return lambda: Model(last, r=kind(2, 1), fc=nn.Linear(1, 3))


def _bag(**more):
    return lambda: Model(
        lambda m, i, o, w=None: m.fc(m.e(i, o, w)), e=nn.EmbeddingBag(5, 2, **more), fc=nn.Linear(2, 3)
    )


def _bags():
    """Indices, where each example's begin, and targets; one example has none."""
    return [(torch.randint(5, (9,)), torch.tensor([0, 2, 5, 5]), torch.randint(3, (4,))), (torch.randint(5, (4,)), torch.tensor([0, 1]), torch.randint(3, (2,)))]  # fmt: skip


def _bag_loss(model, batch):
    return F.cross_entropy(model(*batch[:2]), batch[2], reduction="none")


_IDS = {"x": ids(5, 3)}
_TOKENS = {"x": ids(5, 3), "y": ids(3, 3)}

CASES = [
    _case("RNN", _last(nn.RNN, 2)),
    _case("RNN relu", _last(nn.RNN, 2, nonlinearity="relu")),
    _case("RNN two layers", _last(nn.RNN, 1, num_layers=2, size=1)),
    _case("RNN bidirectional", _last(nn.RNN, 1, bidirectional=True, size=2)),
    _case("RNN dropout in eval", _last(nn.RNN, 1, num_layers=2, dropout=0.5, size=1)),
    _case("RNN dropout in train", _last(nn.RNN, 1, num_layers=2, dropout=0.5, size=1), options={"mode": "train"}),
    _case("LSTM", _last(nn.LSTM, 2)),
    _case("LSTM projected", _last(nn.LSTM, 2, proj_size=1, size=1)),
    _case("GRU", _last(nn.GRU, 2)),
    _case("GRU no bias", _last(nn.GRU, 2, bias=False)),
    _case("RNN time first", lambda: Model(lambda m, x: m.fc(m.r(x.transpose(0, 1))[0][-1]), r=nn.RNN(2, 2), fc=nn.Linear(2, 3))),
    _case("RNN packed", lambda: Model(lambda m, x: m.fc(m.r(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2, 2, 1, 1][: len(x)]), batch_first=True))[1][0]), r=nn.RNN(2, 2, batch_first=True), fc=nn.Linear(2, 3))),
    _case("RNN of packed batches", _of_packed(nn.RNN), batches=lambda: _packed((4, 2, 2), (1, 3))),
    _case("LSTM of packed batches", _of_packed(nn.LSTM), batches=lambda: _packed((2, 3, 1))),
    _case("GRU of packed batches", _of_packed(nn.GRU), batches=lambda: _packed((2, 3, 1))),
    _case("GRU of packed batches in microbatches", _of_packed(nn.GRU), batches=lambda: _packed((2, 3, 1)), options={"microbatch": 2}),
    _case("LSTM packed by lengths in the batch", lambda: Model(lambda m, b: m.fc(m.r(rnn.pack_padded_sequence(b["x"], b["lengths"], batch_first=True, enforce_sorted=False))[1][0][0]), r=nn.LSTM(2, 1, batch_first=True), fc=nn.Linear(1, 3)), batches=lambda: [({"x": torch.randn(n, 3, 2), "lengths": 1 + torch.arange(n) % 3}, torch.arange(n) % 3) for n in (4, 2)], options={"microbatch": 2}),
    _case("RNN learned start", lambda: Model(lambda m, x: m.fc(m.r(x, m.h.expand(1, len(x), 2).contiguous())[0][:, -1]), r=nn.RNN(2, 2, batch_first=True), h=torch.randn(1, 1, 2), fc=nn.Linear(2, 3))),
    _case("RNNCell", lambda: Model(lambda m, x: m.fc(m.c(x[:, 1], m.c(x[:, 0]))), c=nn.RNNCell(2, 2), fc=nn.Linear(2, 3))),
    _case("LSTMCell", lambda: Model(lambda m, x: m.fc(m.c(x[:, 1], m.c(x[:, 0]))[0]), c=nn.LSTMCell(2, 2), fc=nn.Linear(2, 3))),
    _case("GRUCell", lambda: Model(lambda m, x: m.fc(m.c(x[:, 1], m.c(x[:, 0]))), c=nn.GRUCell(2, 2), fc=nn.Linear(2, 3))),
    _case("cell by hand", Cell),
    _case("cell by hand relu", lambda: Cell(F.relu)),
    _case("linear cell", lambda: Cell(lambda h: h)),
    _case("remembering its state", Remembering),
    _case("carrying its state", Carrying),
    _case("two steps of one layer", lambda: Model(lambda m, x: m.fc(F.relu(m.w(F.relu(m.w(x[:, 0]))))), w=nn.Linear(2, 2), fc=nn.Linear(2, 3))),
    _case("tied layers", lambda: _tied(nn.ReLU())),
    _case("tied to the transpose", lambda: Model(lambda m, x: F.linear(F.relu(m.a(x[:, 0])), m.a.weight.T) @ m.h, a=nn.Linear(2, 2), h=torch.randn(2, 3))),
    _case("time in the batch", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.flatten(0, 1)))).view(len(x), -1, 3).mean(1), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("time in the batch, last", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.flatten(0, 1)))).view(len(x), -1, 3)[:, -1], a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("time in the batch, one layer", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.flatten(0, 1))).view(len(x), -1, 3).sum(1)), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("time first in the batch", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.transpose(0, 1).flatten(0, 1)))).view(-1, len(x), 3).mean(0), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("time first", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.transpose(0, 1)))).mean(0), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("time first, two layers of time", lambda: Model(lambda m, x: F.relu(m.b(F.relu(m.a(x.transpose(0, 1))))).sum(0), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("as many steps as examples", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.transpose(0, 1)))).mean(0), a=nn.Linear(2, 3), b=nn.Linear(3, 3)), sizes=(3, 3, 3)),
    _case("tokens", lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), Apply(_mean))),
    _case("tokens each with a target", lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), Apply(lambda z: z.transpose(1, 2))), y=ids(3, 3)),
    _case("tokens each a row of the output", lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), Apply(lambda z: z.flatten(0, 1))), batches=lambda: [(torch.randn(k, 3, 2), torch.randint(3, (3 * k,))) for k in (4, 2)]),
    _case("causal mean", lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Apply(lambda h: h.cumsum(1) / torch.arange(1, 4).to(h)[:, None]), nn.Linear(3, 3), Apply(lambda z: z.transpose(1, 2))), y=ids(3, 3)),
    _case("deep set", lambda: Model(lambda m, x: m.b(F.relu(m.a(x)).sum(1)), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("point set, points in rows", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.reshape(-1, 2))).view(len(x), 3, 3).amax(1)), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("point set, pooled by index", lambda: Model(lambda m, x: m.b(torch.zeros(len(x), 3).to(x).index_add(0, torch.arange(len(x)).repeat_interleave(3), F.relu(m.a(x.flatten(0, 1))))), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("graph pooling by scatter", lambda: Model(lambda m, x: m.b(torch.zeros(len(x), 3).to(x).scatter_add(0, torch.arange(len(x)).repeat_interleave(3)[:, None].expand(-1, 3), F.relu(m.a(x.flatten(0, 1))))), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("graph convolution", lambda: Model(lambda m, x: m.b(m.adjacency.to(x) @ F.relu(m.a(x))).mean(1), a=nn.Linear(2, 3), b=nn.Linear(3, 3), adjacency=nn.Buffer(torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])))),
    _case("message passing twice", lambda: Model(lambda m, x: m.c((m.b(x) + m.a(F.relu(m.b(x).roll(1, 1)))).sum(1)), a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 3))),
    _case("siamese by cat", lambda: Model(lambda m, x: (lambda h: m.b(h[: len(x)] - h[len(x) :]))(F.relu(m.a(torch.cat([x[:, 0], x[:, 1]])))), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("siamese by two calls", lambda: Model(lambda m, x: m.b(F.relu(m.a(x[:, 0])) - F.relu(m.a(x[:, 1]))), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("siamese interleaved", lambda: Model(lambda m, x: m.b(F.relu(m.a(x[:, :2].flatten(0, 1)))[0::2] * 2 - F.relu(m.a(x[:, :2].flatten(0, 1)))[1::2]), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("siamese product", lambda: Model(lambda m, x: m.b((lambda h: h[: len(x)] * h[len(x) :])(m.a(torch.cat([x[:, 0], x[:, 1]])))), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("rows repeated", lambda: Model(lambda m, x: m.b(F.relu(m.a(x[:, 0].repeat(2, 1)) + x.new_tensor([0.3]))).view(2, len(x), 3).mean(0), a=nn.Linear(2, 3), b=nn.Linear(3, 3))),
    _case("rows and a prototype", lambda: Model(lambda m, x: -torch.cdist(m.a(x[:, 0]), m.a(m.p)), a=nn.Linear(2, 2), p=nn.Buffer(torch.randn(3, 2)))),
    _case("features in the batch", lambda: Model(lambda m, x: m.b(F.relu(m.a(x.reshape(-1, 1))).view(len(x), 6, 2).sum(1)), a=nn.Linear(1, 2), b=nn.Linear(2, 3))),
    _case("Embedding", _words(_mean), **_IDS),
    _case("Embedding relu", _words(lambda h: F.relu(h).sum(1)), **_IDS),
    _case("Embedding padding_idx", _words(_mean, padding_idx=0), **_IDS),
    _case("Embedding scale_grad_by_freq", _words(_mean, scale_grad_by_freq=True), **_IDS),
    _case("Embedding max_norm", _words(_mean, max_norm=0.5), **_IDS),
    _case("Embedding sparse", _words(_mean, sparse=True), **_IDS),
    _case("Embedding max_norm never reached", _words(_mean, max_norm=100.0), **_IDS),
    _case("Embedding padding_idx never seen", lambda: Model(lambda m, x: m.fc(m.e(x + 1).mean(1)), e=nn.Embedding(6, 2, padding_idx=0), fc=nn.Linear(2, 3)), **_IDS),
    _case("Embedding tied to the output", lambda: Model(lambda m, x: torch.tanh(m.h(m.e(x).mean(1))) @ m.e.weight.T, e=nn.Embedding(5, 2), h=nn.Linear(2, 2)), x=ids(5, 3), y=5),
    _case("EmbeddingBag mean", lambda: nn.Sequential(nn.EmbeddingBag(5, 2), nn.Linear(2, 3)), **_IDS),
    _case("EmbeddingBag sum", lambda: nn.Sequential(nn.EmbeddingBag(5, 2, mode="sum"), nn.Tanh(), nn.Linear(2, 3)), **_IDS),
    _case("EmbeddingBag max", lambda: nn.Sequential(nn.EmbeddingBag(5, 2, mode="max"), nn.Linear(2, 3)), **_IDS),
    _case("EmbeddingBag sparse", lambda: nn.Sequential(nn.EmbeddingBag(5, 2, mode="sum", sparse=True), nn.Linear(2, 3)), **_IDS),
    _case("EmbeddingBag by offsets", _bag(), batches=_bags, loss=_bag_loss),
    _case("EmbeddingBag by offsets, sparse", _bag(sparse=True, mode="sum"), batches=_bags, loss=_bag_loss),
    _case("EmbeddingBag by offsets, max", _bag(mode="max"), batches=_bags, loss=_bag_loss),
    _case("EmbeddingBag by offsets, weighted", _bag(mode="sum"), batches=lambda: [(i, o, y, torch.rand(len(i))) for i, o, y in _bags()], loss=lambda m, b: F.cross_entropy(m(b[0], b[1], b[3]), b[2], reduction="none")),
    _case("EmbeddingBag by offsets in microbatches", _bag(), batches=_bags, loss=_bag_loss, options={"microbatch": 2}),
    _case("one hot", lambda: nn.Sequential(Apply(lambda i: F.one_hot(i, 5).double().mean(1)), nn.Linear(5, 3)), **_IDS),
    _case("language model", lambda: Model(lambda m, x: m.fc(m.r(m.e(x))[0]).transpose(1, 2), e=nn.Embedding(5, 2), r=nn.RNN(2, 2, batch_first=True), fc=nn.Linear(2, 3)), **_TOKENS),
    _case("bag of words in rows", lambda: Model(lambda m, x: m.fc(m.e(x.flatten())).view(len(x), 3, 3).mean(1), e=nn.Embedding(5, 2), fc=nn.Linear(2, 3)), **_IDS),
]  # fmt: skip


def _tied(act: nn.Module) -> nn.Module:
    model = nn.Sequential(Apply(lambda x: x[:, 0]), nn.Linear(2, 2), act, nn.Linear(2, 2), nn.Linear(2, 3))
    model[3].weight = model[1].weight
    return model

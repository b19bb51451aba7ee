"""What is compiled or checkpointed is measured as the plain model, and is left as it was."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from landscape import Hessian, Objective, analyze
from landscape.fingerprint import of_model

CE = nn.CrossEntropyLoss()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 3)).double()


def batches():
    draws = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 3, generator=draws).double(), torch.randint(3, (8,), generator=draws))]


def test_a_compiled_model_has_the_bits_and_the_names_of_its_original_and_that_is_said():
    plain, compiled = net(), torch.compile(net(), backend="aot_eager")
    with torch.no_grad():
        compiled(batches()[0][0])
    analyses = [analyze(Objective(model, CE, batches()), ["trace", "layer_table"]) for model in (plain, compiled)]
    first, second = (a["train"] for a in analyses)
    assert second["trace"].value == first["trace"].value
    assert list(second["layer_table"].details["layers"]) == list(first["layer_table"].details["layers"])
    assert [a.objective.get("compiled", False) for a in analyses] == [False, True]
    assert analyses[0].objective["fingerprint"] == analyses[1].objective["fingerprint"]
    assert Objective(compiled, CE, batches(), params="0").num_params == 16
    assert of_model(plain) == of_model(compiled)


@pytest.mark.parametrize("what", ["model", "layer", "in place", "forward", "loss", "criterion"])
def test_what_is_compiled_is_told(what):
    model, loss = net(), CE
    if what == "model":
        model = torch.compile(model, backend="eager")
    elif what == "layer":
        model[0] = torch.compile(model[0], backend="eager")
    elif what == "in place":
        model[1].compile(backend="eager")
    elif what == "forward":
        model.forward = torch.compile(model.forward, backend="eager")
    elif what == "loss":
        loss = torch.compile(lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"), backend="eager")
    else:
        loss = torch.compile(nn.CrossEntropyLoss(), backend="eager")
    objective = Objective(model, loss, batches())
    assert objective.compiled
    v = torch.ones(objective.num_params, dtype=torch.float64)
    assert torch.equal(Hessian(objective, engine="exact") @ v, Hessian(Objective(net(), CE, batches())) @ v)


def test_training_with_a_compiled_model_goes_on_as_if_nothing_had_been():
    def train(*, measured: bool):
        torch._dynamo.reset()
        counters.clear()
        model = torch.compile(net(), backend="aot_eager")
        ((x, y),) = batches()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for step in range(6):
            optimizer.zero_grad()
            loss = CE(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if measured and step % 2 == 0:
                analyze(Objective(model, CE, [(x, y)]), ["lambda_max"])
        return losses, [p.tolist() for p in model.parameters()], torch.rand(1), dict(counters["stats"])

    assert train(measured=True) == train(measured=False)  # down to what was compiled


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.reentrant = nn.Linear(3, 4), nn.Linear(4, 3), reentrant

    def forward(self, x):
        if self.reentrant is None:
            return self.b(torch.tanh(self.a(x)))
        inner = checkpoint(lambda z: torch.tanh(self.a(z)), x, use_reentrant=self.reentrant)
        return checkpoint(self.b, inner, use_reentrant=self.reentrant)


def test_a_reentrant_checkpoint_has_derivatives_even_where_its_input_needs_none():
    found = []
    for reentrant in (None, True):
        objective = Objective(Checkpointed(reentrant).double(), CE, batches())
        v = torch.arange(objective.num_params).double()
        found.append((objective.gradient(), Hessian(objective, engine="exact") @ v))
    for plain, checkpointed in zip(*found, strict=True):
        assert torch.allclose(plain, checkpointed, rtol=1e-12)
    assert torch.utils.checkpoint.CheckpointFunction.__module__ == "torch.utils.checkpoint"


@pytest.mark.parametrize(("kind", "on"), [(nn.LSTM, False), (nn.GRU, False), (nn.RNN, False), (nn.Linear, True)])
def test_recurrent_layers_run_without_cudnn_which_is_as_it_was(kind, on):
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.fc = kind(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            assert torch.backends.cudnn.enabled is on
            h = self.layer(x)
            return self.fc(h[0] if isinstance(h, tuple) else h)

    objective = Objective(Asking().double(), CE, batches())
    assert (Hessian(objective, engine="exact") @ objective.vector()).isfinite().all()
    assert torch.backends.cudnn.enabled

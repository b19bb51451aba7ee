"""Language-model batches: the mean is over tokens, padding does not count, and neither does how they are batched."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape import Hessian, Objective
from landscape.measure import gradient_norm, trace
from tests.cases import relative_error

VOCAB, PAD, IGNORED = 11, 0, -100


class Tiny(nn.Module):
    """Causal attention over tokens; padding keys are masked, so that a token's logits do not depend on it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 6)
        self.qkv, self.head = nn.Linear(6, 18), nn.Linear(6, VOCAB)

    def forward(self, tokens):  # (n, length) -> (n, length, VOCAB)
        q, k, v = self.qkv(self.embed(tokens)).chunk(3, dim=-1)
        return self.head(functional.scaled_dot_product_attention(q, k, v, is_causal=True))


def sentences():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(1, VOCAB, (length,), generator=generator) for length in (3, 9, 4, 7, 2, 5, 8)]


def padded(texts, length=None):
    """A dictionary as tokenizers make it: inputs, and labels with padding ignored."""
    length = length or max(len(text) for text in texts)
    tokens = torch.full((len(texts), length), PAD)
    labels = torch.full((len(texts), length), IGNORED)
    for i, text in enumerate(texts):
        tokens[i, : len(text)] = text
        labels[i, : len(text) - 1] = text[1:]
    return {"tokens": tokens, "labels": labels, "names": ["text"] * len(texts)}


def token_losses(model, batch):
    logits, labels = model(batch["tokens"]), batch["labels"]
    counted = labels != IGNORED
    return functional.cross_entropy(logits[counted], labels[counted], reduction="none")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Tiny().double()


def batchings():
    texts = sentences()
    return {
        "one by one": [padded([text]) for text in texts],
        "all": [padded(texts)],
        "much padding": [padded(texts[:3], 30), padded(texts[3:], 17)],
        "by two": [padded(texts[i : i + 2]) for i in range(0, 7, 2)],
    }


def test_numbers_do_not_depend_on_batching_or_padding(model):
    reference = Objective(model, token_losses, batchings()["one by one"])
    v = torch.randn(reference.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected_trace = trace(reference, num_probes=8).value
    assert reference.num_examples == sum(len(text) - 1 for text in sentences())
    for name, batches in batchings().items():
        for microbatch in (None, 2):
            objective = Objective(model, token_losses, batches, microbatch=microbatch)
            assert objective.num_examples == reference.num_examples, name
            assert objective.value() == pytest.approx(reference.value(), rel=1e-12)
            assert relative_error(Hessian(objective) @ v, Hessian(reference) @ v) < 1e-10
            assert trace(objective, num_probes=8).value == pytest.approx(expected_trace, rel=1e-9)
            assert gradient_norm(objective).value == pytest.approx(gradient_norm(reference).value, rel=1e-10)


def test_a_torch_criterion_that_ignores_padding_is_the_same(model):
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            return self.model(tokens).transpose(1, 2)  # (n, VOCAB, length), as CrossEntropyLoss wants

    expected = Objective(model, token_losses, batchings()["one by one"])
    for batches in batchings().values():
        pairs = [(batch["tokens"], batch["labels"]) for batch in batches]
        objective = Objective(Transposed(), nn.CrossEntropyLoss(ignore_index=IGNORED), pairs)
        assert objective.value() == pytest.approx(expected.value(), rel=1e-12)
        assert objective.num_examples == expected.num_examples
        assert relative_error(objective.gradient(), expected.gradient()) < 1e-12


def test_the_naive_mean_of_batch_means_is_another_number(model):
    """What the tools that average batches measure; here it must be asked for, with weights that make it right."""

    def mean(model, batch):
        return token_losses(model, batch).mean()

    batches = batchings()["by two"]
    right = Objective(model, token_losses, batches).value()
    with pytest.raises(ValueError, match="scalar"):
        Objective(model, mean, batches)
    weighted = Objective(model, mean, batches, weight=lambda batch: int((batch["labels"] != IGNORED).sum()))
    assert weighted.value() == pytest.approx(right, rel=1e-12)
    assert abs(Objective(model, mean, batches, weight=lambda batch: 1).value() - right) > 1e-4

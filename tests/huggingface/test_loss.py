"""Which tokens count, and what a mean over them is: padding, shifts, kinds of labels; what is refused by name."""

import copy

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from landscape import Hessian, Objective
from landscape.huggingface import loss_of, objective
from landscape.losses import token_losses
from landscape.operators import GaussNewton
from landscape.surface import line
from tests.cases import relative_error
from tests.huggingface.models import MODELS, make, padded


def by_hand(case):
    """The mean over the counted tokens of all texts, each alone."""
    losses = []
    for given in case.alone:
        logits, labels = case.model(input_ids=given["input_ids"]).logits[0], given["labels"][0]
        losses += [-logits[t].log_softmax(0)[labels[t + 1]] for t in range(len(labels) - 1)]
    return torch.stack(losses).mean().item()


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "LoRA"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("labels", ["ignored", "copied", "none"])
def test_padding_never_counts(name, left, labels):
    """At either side, and where the labels are a copy of the padded tokens, or there are none."""
    case = make(name)
    batches = [padded(case.alone[:2], left=left), padded(case.alone[2:], left=left)]
    for batch in batches:
        if labels == "copied":
            batch["labels"] = batch["input_ids"].clone()
        elif labels == "none":
            del batch["labels"]
    made = objective(case.model, batches)
    alone = objective(case.model, case.alone)
    assert made.num_examples == sum(given["labels"].numel() - 1 for given in case.alone)
    assert made.value() == pytest.approx(by_hand(case), rel=1e-6)
    assert relative_error(made.gradient(), alone.gradient()) < 1e-6
    v = torch.randn(made.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert relative_error(Hessian(made) @ v, Hessian(alone) @ v) < 1e-5


def test_padding_of_targets_that_is_their_padding_token_does_not_count():
    case = make("T5")
    expected = objective(case.model, case.alone).value()
    batches = [{**batch, "labels": batch["labels"].masked_fill(batch["labels"] == -100, 0)} for batch in case.batches]
    assert objective(case.model, batches).value() == pytest.approx(expected, rel=1e-6)
    masks = [{**batch, "decoder_attention_mask": (batch["labels"] != 0).long()} for batch in batches]
    assert objective(case.model, masks).value() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["Llama", "Mistral", "RoBERTa"])
def test_padding_at_the_left_in_float64(name, attention):
    """Rows that see nothing are not nan, and positions begin where those of the model do."""
    said = MODELS["Llama"][2] | {"num_hidden_layers": 2}
    if name == "RoBERTa":
        said = {**said, "is_decoder": True, "pad_token_id": 1, "max_position_embeddings": 8}
    kind = {"RoBERTa": "RobertaConfig"}.get(name, f"{name}Config")
    config = getattr(transformers, kind)(**said, **({"sliding_window": 2} if name == "Mistral" else {}))
    cls = transformers.RobertaForCausalLM if name == "RoBERTa" else getattr(transformers, f"{name}ForCausalLM")
    torch.manual_seed(0)
    model = cls._from_config(config, attn_implementation=attention).eval()
    alone = [{"input_ids": torch.randint(2, 6, (1, n))} for n in (5, 2, 4)]
    for given in alone:
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    expected = objective(model, alone, dtype=torch.float64).value()
    for left in (False, True):
        made = objective(model, [padded(alone, left=left)], dtype=torch.float64)
        assert made.value() == pytest.approx(expected, rel=1e-6)


def test_padding_at_the_left_of_a_recurrent_model_is_refused():
    torch.manual_seed(0)
    config = transformers.RwkvConfig(vocab_size=6, hidden_size=4, attention_hidden_size=4, num_hidden_layers=2)
    model = transformers.RwkvForCausalLM(config).eval()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    alone = [{"input_ids": torch.randint(1, 6, (1, n))} for n in (5, 2, 4)]
    for given in alone:
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    assert objective(model, [padded(alone)]).value() == pytest.approx(objective(model, alone).value(), rel=1e-5)
    with pytest.raises(
        ValueError, match=r"Padding at the left changes the losses of RwkvForCausalLM. Pad at the right"
    ):
        objective(model, [padded(alone, left=True)])


def test_a_token_that_pads_and_ends_texts_has_its_gradient():
    """torch leaves out the gradient of ``Embedding(padding_idx=...)``; the loss depends on it where it is read."""
    _, _, said = MODELS["Llama"]
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**said | {"pad_token_id": 2})).double().eval()
    assert model.model.embed_tokens.padding_idx == 2
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    made = objective(model, [{"input_ids": torch.tensor([[1, 3, 2, 4, 5], [2, 2, 3, 1, 4]])}])
    w, step = made.vector(), torch.zeros(made.num_params, dtype=torch.float64)
    step[made.layout.indices(["model.embed_tokens.weight"])[2 * 4]] = 1e-3
    rise = (made.value(w + step) - made.value(w - step)) / 2e-3
    assert made.gradient()[step != 0].item() == pytest.approx(rise, rel=1e-2)
    assert abs(rise) > 1e-2


def test_other_ways_to_write_the_mean_are_other_numbers():
    """The trap: three plausible losses, and the mean over tokens."""
    case = make("GPT-2")
    right = objective(case.model, case.batches).value()
    with torch.no_grad():
        means = torch.stack([case.model(**batch).loss for batch in case.batches])
        outputs = [case.model(batch["input_ids"], attention_mask=batch["attention_mask"]) for batch in case.batches]
    unshifted = [token_losses(o.logits, b["labels"], shift=False) for o, b in zip(outputs, case.batches, strict=True)]
    copied = [token_losses(o.logits, b["input_ids"]) for o, b in zip(outputs, case.batches, strict=True)]
    shifted = [token_losses(o.logits, b["labels"]) for o, b in zip(outputs, case.batches, strict=True)]
    assert right == pytest.approx(by_hand(case), rel=1e-12)
    assert float(torch.cat(shifted).mean()) == pytest.approx(right, rel=1e-12)
    for wrong in (means.mean(), torch.cat(unshifted).mean(), torch.cat(copied).mean()):
        assert abs(float(wrong) - right) > 1e-3
    with pytest.raises(ValueError, match=r"token_losses.*\"weight\""):
        Objective(case.model, lambda model, batch: model(**batch).loss, case.batches)
    counted = Objective(
        case.model,
        lambda model, batch: model(**batch).loss,
        case.batches,
        weight=lambda batch: int((batch["labels"][:, 1:] != -100).sum()),
    )
    assert counted.value() == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        (torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.long), r"\(2, 3, 5\).*\(2, 4\)"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 3), "float32"),
        (torch.zeros(2, 3, 5), torch.full((2, 3), 5), "from 5 to 5.*5 classes.*0 to 4"),
        (torch.zeros(2, 3, 5), torch.full((2, 3), -1), "ignore_index=-100"),
    ],
)
def test_token_losses_refuses_what_does_not_belong_together(logits, labels, says):
    with pytest.raises(ValueError, match=says):
        token_losses(logits, labels)


def test_token_losses_are_float32_at_least():
    logits, labels = (
        torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).bfloat16(),
        torch.ones(2, 3).long(),
    )
    assert token_losses(logits, labels).dtype == torch.float32
    expected = functional.cross_entropy(
        logits.float()[:, :-1].reshape(-1, 5), labels[:, 1:].reshape(-1), reduction="none"
    )
    assert torch.equal(token_losses(logits, labels), expected)
    assert token_losses(logits.double(), labels).dtype == torch.float64


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels", "reference"),
    [
        (1, None, torch.tensor([0.5, -1.0, 2.0]), lambda z, y: (z[:, 0] - y).square().mean()),
        (2, "regression", torch.tensor([[0.5, 1], [0, 2], [1, 1]]), lambda z, y: (z - y).square().mean()),
        (3, None, torch.tensor([0, 2, 1]), functional.cross_entropy),
        (3, "multi_label_classification", torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]]), None),
    ],
)
def test_kinds_of_labels_of_an_example(num_labels, problem_type, labels, reference):
    reference = reference or functional.binary_cross_entropy_with_logits
    _, _, said = MODELS["BERT, classes"]
    config = transformers.BertConfig(**said | {"num_labels": num_labels, "problem_type": problem_type})
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).double().eval()
    ids = torch.randint(1, 6, (3, 4), generator=torch.Generator().manual_seed(0))
    labels = labels.double() if labels.is_floating_point() else labels
    batches = [{"input_ids": ids[:2], "labels": labels[:2]}, {"input_ids": ids[2:], "labels": labels[2:]}]
    made = objective(model, batches)
    assert made.value() == pytest.approx(reference(model(input_ids=ids).logits, labels).item(), rel=1e-6)
    assert made.num_examples == 3
    assert made.classifies == (problem_type is None and num_labels == 3)
    assert config.problem_type == problem_type  # which a call of transformers with labels sets


def test_batches_of_a_tokenizer_a_collator_and_a_cache_are_taken():
    case = make("GPT-2")
    expected = objective(case.model, case.batches).value()
    assert case.model.config.use_cache
    encoded = [transformers.BatchEncoding(batch) for batch in case.batches]
    assert objective(case.model, encoded).value() == pytest.approx(expected, rel=1e-12)
    assert [sorted(batch) for batch in encoded] == [sorted(batch) for batch in case.batches]
    loader = DataLoader(case.alone, batch_size=2, collate_fn=padded)
    assert objective(case.model, loader).value() == pytest.approx(expected, rel=1e-12)
    assert objective(case.model, case.batches, microbatch=1).value() == pytest.approx(expected, rel=1e-12)


def test_tied_weights_are_counted_once_and_nothing_is_left_behind():
    case = make("GPT-2")
    before = copy.deepcopy(case.model.state_dict())
    config = copy.deepcopy(case.model.config.to_dict())
    made = objective(case.model, case.batches)
    made.gradient()
    assert "lm_head.weight" not in made.names
    assert made.num_params == sum(p.numel() for p in case.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in case.model.state_dict().items())
    assert case.model.config.to_dict() == config


@pytest.mark.parametrize("name", ["GPT-2", "BERT, classes", "ViT"])
def test_the_gauss_newton_matrix_is_of_the_logits(name):
    case = make(name)
    made = objective(case.model, case.batches)
    v = torch.randn(made.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(v @ (GaussNewton(made) @ v)) > 0


class Classes(nn.Module):
    """A model of transformers inside of one's own."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **given):
        return self.model(**given)


def test_an_output_with_logits_works_with_a_criterion():
    case = make("ViT")
    expected = objective(case.model, case.batches)
    for batches in (case.batches, [(batch["pixel_values"], batch["labels"]) for batch in case.batches]):
        made = Objective(case.model, nn.CrossEntropyLoss(), batches)
        assert made.value() == pytest.approx(expected.value(), rel=1e-12)
        assert made.accuracy() == expected.accuracy()
        v = torch.ones(made.num_params, dtype=torch.float64)
        assert relative_error(GaussNewton(made) @ v, GaussNewton(expected) @ v) < 1e-10
    bert = make("BERT, classes")
    inputs = [({k: v for k, v in b.items() if k != "labels"}, b["labels"]) for b in bert.batches]
    value = objective(bert.model, bert.batches).value()
    assert Objective(bert.model, nn.CrossEntropyLoss(), inputs).value() == pytest.approx(value, rel=1e-12)
    assert Objective(Classes(bert.model), nn.CrossEntropyLoss(), bert.batches).value() == pytest.approx(
        value, rel=1e-12
    )
    assert objective(Classes(bert.model), bert.batches).value() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_surface_of_outputs_with_logits(by_name):
    case = make("ViT")
    pairs = [(batch["pixel_values"], batch["labels"]) for batch in case.batches]
    made = Objective(case.model, nn.CrossEntropyLoss(), case.batches if by_name else pairs)
    found = line(made, num_points=5, span=0.5)
    expected = line(objective(case.model, case.batches), num_points=5, span=0.5)
    assert np.allclose(found.loss, expected.loss, rtol=1e-12)
    assert np.array_equal(found.accuracy, expected.accuracy)


def test_labels_of_tokens_with_a_criterion_are_aligned_where_they_are_given_apart_and_asked_about_where_not():
    case = make("BERT, tokens")
    expected = objective(case.model, case.batches).value()
    pairs = [({k: v for k, v in b.items() if k != "labels"}, b["labels"]) for b in case.batches]
    assert Objective(case.model, nn.CrossEntropyLoss(), pairs).value() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"labels of tokens.*token_losses.*shift"):
        Objective(case.model, nn.CrossEntropyLoss(), case.batches)


@pytest.mark.parametrize("name", ["GPT-2", "BERT, classes", "ViT", "T5"])
def test_models_in_bfloat16_have_the_loss_of_their_own_rounding(name):
    case = make(name)
    case.model.to(torch.bfloat16)
    batches = [{k: v.bfloat16() if v.is_floating_point() else v for k, v in batch.items()} for batch in case.batches]
    found = objective(case.model, batches).value()
    assert found == pytest.approx(objective(case.model, case.batches, dtype=torch.float64).value(), rel=0.03)


class Penalized(transformers.BertForSequenceClassification):
    def forward(self, **given):
        outputs = super().forward(**given)
        if outputs.loss is not None:
            outputs.loss = outputs.loss + 0.01 * outputs.logits.exp().sum()
        return outputs


def test_a_model_with_another_loss_is_refused_with_both_numbers():
    torch.manual_seed(0)
    model = Penalized(transformers.BertConfig(**MODELS["BERT, classes"][2])).double().eval()
    with pytest.raises(ValueError, match=r"Penalized itself is [\d.]+.*[\d.]+ is the mean"):
        objective(model, make("BERT, classes").batches)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: nn.Linear(2, 2), "Linear is no model of transformers"),
        (lambda: make("GPT-2").model.transformer, "GPT2Model has no loss.*causal language model or"),
        (
            lambda: transformers.BertForQuestionAnswering(transformers.BertConfig(**MODELS["BERT, masked"][2])),
            "BertForQuestionAnswering has no loss.*loss\\(model, batch\\)",
        ),
    ],
)
def test_models_without_such_a_loss_are_refused(model, says):
    with pytest.raises(ValueError, match=says):
        loss_of(model())


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ({"input_ids": torch.ones(1, 3)}, "single mapping.*\\[batch\\]"),
        ([(torch.ones(1, 3), torch.ones(1, 3))], "A batch is tuple. Expected a mapping"),
        ([{"input_ids": torch.ones(1, 3).long()}], "A batch has input_ids. Expected labels too"),
        ([{"input_ids": torch.ones(2, 3).long(), "labels": torch.ones(3).long()}], "2 examples have labels of shape"),
    ],
)
def test_batches_without_what_is_needed_are_refused(batches, says):
    with pytest.raises(ValueError, match=says):
        objective(make("BERT, classes").model, batches)

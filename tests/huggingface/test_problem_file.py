"""What a problem file says in a few lines: masked and sequence-to-sequence models, and weight, params and mode."""

import textwrap

import pytest
import torch
from torch import nn

from landscape.checkpoint import load_checkpoint
from landscape.huggingface import objective
from landscape.problem import Problem
from landscape.reading import FileError
from tests.huggingface.folders import save

MASKED = """
    from pathlib import Path
    import torch, transformers
    from landscape.huggingface import loss_of

    def problem():
        tokenizer = transformers.AutoTokenizer.from_pretrained("bert")
        model = transformers.AutoModelForMaskedLM.from_config(transformers.AutoConfig.from_pretrained("bert"))
        batch = tokenizer(Path("a.txt").read_text().splitlines(), padding=True, return_tensors="pt")
        masked = (batch["input_ids"] % 3 == 0) & (batch["attention_mask"] == 1)
        labels = batch["input_ids"].masked_fill(~masked, -100)
        return model, loss_of(model), {"test": [{**batch, "labels": labels}]}
"""
TRANSLATED = """
    from pathlib import Path
    import transformers
    from landscape.losses import token_losses

    def problem():
        tokenizer = transformers.AutoTokenizer.from_pretrained("t5", pad_token="[PAD]")
        model = transformers.AutoModelForSeq2SeqLM.from_config(transformers.AutoConfig.from_pretrained("t5"))
        pairs = [line.split(" and ", 1) for line in Path("a.txt").read_text().splitlines()]
        batch = tokenizer([a for a, _ in pairs], padding=True, return_tensors="pt")
        labels = tokenizer([b for _, b in pairs], padding=True, return_tensors="pt")["input_ids"]
        batch["labels"] = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
        loss = lambda model, batch: token_losses(model(**batch).logits, batch["labels"], shift=False)
        return model, loss, {"test": [batch]}
"""


def of(source, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(textwrap.dedent(source))
    return Problem.of(load_checkpoint(folder), file="mine.py:problem")


@pytest.mark.parametrize(("name", "kind", "source"), [("BERT, masked", "bert", MASKED), ("T5", "t5", TRANSLATED)])
def test_masked_and_sequence_to_sequence_models(tmp_path, monkeypatch, name, kind, source):
    folder = save(tmp_path / kind, name, max_position_embeddings=16)
    (tmp_path / "a.txt").write_text("the cat and the dog\nthe mat and a house ran\n")
    problem = of(source, folder, tmp_path, monkeypatch)
    made = problem.objective("test")
    (batch,) = problem.splits["test"]
    with torch.no_grad():
        assert made.value() == pytest.approx(problem.model.eval()(**batch).loss.item(), rel=1e-5)
    assert made.value() == pytest.approx(objective(problem.model, [batch]).value(), rel=1e-6)
    assert made.num_examples == int((batch["labels"] != -100).sum())


HOW = """
    import torch
    from torch import nn
    from landscape.problem import Problem

    def problem():
        x = torch.arange(10.0).view(5, 2)
        mean = lambda model, batch: model(batch).square().mean()
        model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        return {returned}
"""


def weights(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    return model, torch.arange(10.0).view(5, 2)


@pytest.mark.parametrize(
    "returned",
    [
        '(model, mean, {"test": [x[:3], x[3:]]}, {"weight": len, "params": "0.*", "mode": "train"})',
        '[model, mean, {"test": [x[:3], x[3:]]}, {"weight": len, "params": "0.*", "mode": "train"}]',
        'Problem(model, mean, {"test": [x[:3], x[3:]]}, weight=len, params="0.*", mode="train")',
    ],
)
def test_a_fourth_element_says_weight_params_and_mode(tmp_path, monkeypatch, returned):
    model, x = weights(tmp_path)
    problem = of(HOW.replace("{returned}", returned), tmp_path / "w.pt", tmp_path, monkeypatch)
    made = problem.objective("test")
    assert made.value() == pytest.approx(model(x).square().mean().item(), rel=1e-6)
    assert made.names == ["0.weight", "0.bias"]
    assert (made.mode, made.num_examples) == ("train", 5)
    assert problem.objective("test", params="2.*").names == ["2.weight", "2.bias"]
    assert problem.fingerprint()["mode"] == "train"
    assert problem.fingerprint()["loss"]["weight"] == made.fingerprint()["loss"]["weight"]
    assert set(problem.fingerprint()["problem"]["files"]) == {"mine.py"}


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            '(model, mean, {"test": [x]}, {"weights": len})',
            "the options weights. Expected some of weight, params, mode",
        ),
        ('(model, mean, {"test": [x]}, 3)', "returned tuple.*a fourth element"),
        ("(model, mean)", "returned tuple.*'weight': ..., 'params': ..., 'mode': ..."),
        ("(nn.Sequential, mean, {})", "returned <class .*Sequential'> for model. Expected a torch module"),
        ('(model, "mse", {"test": [x]})', "returned 'mse' for loss"),
        ("(model, mean, {})", "returned {} for splits. Expected data by name"),
        ("Problem(model, mean, None)", "returned None for splits"),
        ('(model, mean, {"test": [x]}, {"weight": 3})', "returned 3 for weight. Expected a function"),
        ('(model, mean, {"test": [x]}, {"params": ["0.*"]})', "for params. Expected a glob"),
        ('Problem(model, mean, {"test": [x]}, mode="Eval")', "returned 'Eval' for mode"),
        ("__import__('sys').exit(0)", r"exits when it is run \(0\).*if __name__ =="),
    ],
)
def test_what_else_a_function_may_return_is_refused(tmp_path, monkeypatch, returned, says):
    weights(tmp_path)
    with pytest.raises(FileError, match=says):
        of(HOW.replace("{returned}", returned), tmp_path / "w.pt", tmp_path, monkeypatch)


def test_a_scalar_loss_is_told_what_a_problem_can_say(tmp_path, monkeypatch):
    weights(tmp_path)
    problem = of(HOW.replace("{returned}", '(model, mean, {"test": [x]})'), tmp_path / "w.pt", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"shape \(\).*token_losses.*fourth element.*\"weight\""):
        problem.objective("test")


@pytest.mark.parametrize(
    ("loss", "weight", "says"),
    [
        ("nn.MSELoss()", "len", "weight= is of a loss.* returns a mean, and MSELoss gives"),
        ("mean", "lambda batch: None", r"weight\(batch\) failed: TypeError"),
        ("mean", "lambda batch: batch[9]", r"weight\(batch\) failed: IndexError"),
    ],
)
def test_a_weight_that_weighs_nothing(tmp_path, monkeypatch, loss, weight, says):
    weights(tmp_path)
    returned = f'(model, {loss}, {{"test": [(x, x[:, :1])] if "MSE" in "{loss}" else [x]}}, {{"weight": {weight}}})'
    problem = of(HOW.replace("{returned}", returned), tmp_path / "w.pt", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=says):
        problem.objective("test")


def test_a_context_is_of_a_folder_of_transformers(tmp_path):
    weights(tmp_path)
    with pytest.raises(ValueError, match="--context 8 is for a folder of transformers"):
        Problem.of(load_checkpoint(tmp_path / "w.pt"), model="mlp", data="digits", context=8)
    with pytest.raises(ValueError, match="--context 8"):
        Problem.of(load_checkpoint(save(tmp_path / "gpt2", "GPT-2")), file="mine.py:problem", context=8)

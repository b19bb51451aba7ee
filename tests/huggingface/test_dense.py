"""What is measured of models of transformers, padded, against dense Hessians made by differences, text by text."""

from functools import cache

import pytest
import torch

from landscape import Hessian, measure
from landscape.huggingface import objective
from tests.cases import relative_error
from tests.huggingface.models import dense, make

NAMES = ["GPT-2", "Llama", "BERT, masked", "BERT, classes", "ViT", "T5", "LoRA"]


@cache
def oracle(name):
    return dense(make(name))


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_against_a_dense_hessian(name, attention):
    loss, gradient, H = oracle(name)
    case = make(name, attention)
    made = objective(case.model, case.batches)
    scale = float(H.norm())
    assert made.num_params == len(gradient) == sum(p.numel() for p in case.model.parameters() if p.requires_grad)
    assert made.value() == pytest.approx(loss, rel=1e-6)
    assert relative_error(made.gradient(), gradient) < 1e-6

    block = torch.randn(len(H), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert relative_error(Hessian(made) @ block, H @ block) < 1e-5
    values = torch.linalg.eigvalsh(H)
    assert measure.lambda_max(made, rel_error=1e-3).value == pytest.approx(float(values[-1]), abs=2e-3 * scale)
    assert measure.lambda_min(made, rel_error=1e-3).value == pytest.approx(float(values[0]), abs=2e-3 * scale)
    trace = measure.trace(made, rel_error=0.01)
    assert abs(trace.value - float(H.trace())) <= 4 * (trace.std_error or 0) + 1e-5 * scale

    found = measure.layer_table(made, rel_error=0.02).details
    columns = [found[key] for key in ("layers", "trace", "trace_std_error", "lambda_max")]
    for layer, of_layer, error, top in zip(*columns, strict=True):
        rows = made.layout.indices([n for n in made.names if n.rpartition(".")[0] == str(layer)])
        part = H[rows][:, rows]
        assert abs(of_layer - float(part.trace())) <= 5 * error + 1e-5 * scale, layer
        assert top == pytest.approx(float(torch.linalg.eigvalsh(part)[-1]), abs=0.03 * scale), layer


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*NAMES, "BERT, tokens"])
def test_loss_and_gradient_are_those_of_the_texts_one_by_one(name, attention):
    case = make(name, attention)
    made, alone = objective(case.model, case.batches), objective(case.model, case.alone)
    assert made.num_examples == alone.num_examples
    assert made.value() == pytest.approx(alone.value(), rel=1e-6)
    assert relative_error(made.gradient(), alone.gradient()) < 1e-6
    assert made.accuracy() == alone.accuracy()

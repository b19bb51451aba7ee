"""Validation parts and subsets: stratified, disjoint, found again, and in every dataset."""

import pytest
import torch

from landscape.data import load_data
from landscape.data.digits import digits
from landscape.data.split import held_out


def rows(split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.inputs}


def test_the_parts_are_disjoint_stratified_and_all_there_is():
    whole = digits()
    data = held_out(whole, num_train=200, validation=0.25)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 200, "validation": 359, "test": 360}
    assert rows(data.train) & rows(data.validation) == rows(data.train) & rows(data.test) == set()
    assert rows(data.train) | rows(data.validation) < rows(whole.train)
    for split in (data.train, data.validation):
        shares = torch.bincount(split.targets) / len(split) - torch.bincount(whole.train.targets) / len(whole.train)
        assert shares.abs().max() < 2 / len(split)
    only_held_out = held_out(whole, validation=0.25)
    assert len(only_held_out.train) == 1437 - 359
    assert rows(only_held_out.validation) == rows(data.validation)
    assert whole.splits.keys() == {"train", "test"}


def test_the_seed_draws_and_the_arguments_find_it_again():
    a, b, c = (load_data("digits", num_train=100, validation=0.1, split_seed=seed) for seed in (0, 0, 1))
    assert a.args == {"num_train": 100, "validation": 0.1, "split_seed": 0}
    assert torch.equal(a.train.inputs, b.train.inputs)
    assert rows(a.train) != rows(c.train)
    assert rows(a.validation) != rows(c.validation)
    assert torch.equal(load_data(a.name, **a.args).train.inputs, a.train.inputs)
    assert load_data("digits", split_seed=3).args == {}


def test_beside_a_corruption():
    data = load_data("digits-c", corruption="contrast", severity=2, num_train=50)
    assert (data.name, len(data.train)) == ("digits-c", 50)
    again = load_data(data.name, **data.args)
    assert torch.equal(again.test.inputs, data.test.inputs)
    assert torch.equal(again.train.inputs, data.train.inputs)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_train": 0}, r"num_train=0 is out of range\. Expected 1 <= num_train <= 1437\."),
        ({"num_train": 1400, "validation": 0.1}, r"num_train=1400 is out of range\. Expected 1 <= num_train <= 1293\."),
        ({"validation": 1.0}, r"validation=1\.0 is out of range\. Expected a share of 1437 examples\."),
        ({"validation": 1e-9}, "validation=1e-09 is out of range"),
        ({"validation": -0.1}, r"validation=-0\.1 is out of range"),
    ],
)
def test_what_cannot_be_cut_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        load_data("digits", **args)

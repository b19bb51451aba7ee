"""Validation parts and subsets: stratified, disjoint, found again, and in every dataset."""

import pytest
import torch

from landscape.data import load_data
from landscape.data.digits import digits
from landscape.data.split import held_out, mislabelled


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


@pytest.mark.parametrize("label_noise", [0.2, 0.4, 0.8, 1.0])
def test_label_noise_changes_an_exact_share_of_the_labels_trained_on_and_nothing_else(label_noise):
    cut = {"num_train": 501, "validation": 0.2, "split_seed": 3}
    clean, noisy = load_data("digits", **cut), load_data("digits", **cut, label_noise=label_noise)
    assert noisy.args == cut | {"label_noise": label_noise}
    wrong = noisy.train.targets != clean.train.targets
    assert wrong.sum() == round(label_noise * 501)
    assert noisy.train.targets.min() == 0
    assert noisy.train.targets.max() == 9
    assert torch.equal(noisy.train.inputs, clean.train.inputs)
    for name in ("validation", "test"):
        assert torch.equal(noisy.splits[name].targets, clean.splits[name].targets)
        assert torch.equal(noisy.splits[name].inputs, clean.splits[name].inputs)
    again = load_data(noisy.name, **noisy.args)
    assert torch.equal(again.train.targets, noisy.train.targets)
    other = load_data("digits", **cut | {"split_seed": 4}, label_noise=label_noise)
    assert not torch.equal(other.train.targets, noisy.train.targets)


def test_label_noise_is_symmetric():
    drawn = torch.zeros(4, 4)
    targets = torch.arange(4).repeat(10)
    for seed in range(500):
        noisy = mislabelled(targets, 0.3, num_classes=4, seed=seed)
        drawn += torch.zeros(4, 4).index_put_((targets, noisy), torch.ones(40), accumulate=True)
    # 500 seeds of 10 examples a class: 0.7 stay, and 0.1 go to each other class: 500 of 5000, deviation 21
    assert (drawn.diagonal() - 3500).abs().max() < 120
    assert (drawn - drawn.diag().diag() - 500 * (1 - torch.eye(4))).abs().max() < 90


def test_label_noise_of_a_whole_train_part_and_beside_a_corruption():
    data = load_data("digits", label_noise=0.5)
    assert data.args == {"label_noise": 0.5, "split_seed": 0}
    assert (data.train.targets != digits().train.targets).sum() == round(0.5 * 1437)
    corrupted = load_data("digits-c", corruption="fog", severity=1, label_noise=0.5)
    assert torch.equal(corrupted.train.targets, data.train.targets)
    with pytest.raises(ValueError, match=r"label_noise=0\.5 needs another class\. Expected at least 2, found 1\."):
        mislabelled(torch.zeros(3, dtype=torch.long), 0.5, num_classes=1, seed=0)


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
        ({"label_noise": 1.5}, r"label_noise=1\.5 is out of range\. Expected a share of the labels, from 0 to 1\."),
        ({"label_noise": -0.1}, r"label_noise=-0\.1 is out of range"),
        ({"label_noise": float("nan")}, "label_noise=nan is out of range"),
        ({"label_noise": "some"}, r"label_noise='some' is of type str\. Expected float\."),
    ],
)
def test_what_cannot_be_cut_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        load_data("digits", **args)

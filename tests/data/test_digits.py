from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from landscape.data import DATA, load_data


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def arrays():
    with np.load(files("landscape.data") / "digits.npz", allow_pickle=False) as npz:
        return dict(npz)


def test_is_scikit_learns_copy(arrays):
    theirs = load_digits()
    assert np.array_equal(arrays["images"], theirs.images)
    assert np.array_equal(arrays["labels"], theirs.target)
    assert arrays["images"].dtype == arrays["labels"].dtype == np.uint8


def test_describes_itself(data):
    assert (data.name, data.args, data.num_classes, data.input_shape) == ("digits", {}, 10, (1, 8, 8))
    again = load_data(data.name, **data.args)
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert torch.equal(again.test.targets, data.test.targets)


@pytest.mark.parametrize(("part", "num_examples"), [("train", 1437), ("test", 360)])
def test_shapes_types_and_range(data, part, num_examples):
    split = getattr(data, part)
    assert split.inputs.shape == (num_examples, 1, 8, 8)
    assert split.inputs.dtype == torch.float32
    assert split.targets.shape == (num_examples,)
    assert split.targets.dtype == torch.int64
    assert split.inputs.min() == 0
    assert split.inputs.max() == 1


def test_train_and_test_are_the_whole_in_order(data):
    images, labels = torch.tensor(load_digits().images / 16, dtype=torch.float32), torch.tensor(load_digits().target)
    test_index = torch.cat([(images == image).all(dim=(1, 2)).nonzero()[0] for image in data.test.inputs[:, 0]])
    train_index = torch.tensor(sorted(set(range(1797)) - set(test_index.tolist())))
    assert torch.equal(test_index, test_index.unique())
    assert torch.equal(data.train.inputs[:, 0], images[train_index])
    assert torch.equal(data.train.targets, labels[train_index])
    assert torch.equal(data.test.targets, labels[test_index])


def test_test_split_is_stratified(data):
    share = np.bincount(load_digits().target) * 360 / 1797
    assert np.abs(np.bincount(data.test.targets) - share).max() < 1


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=rf"data 'mnist' is unknown\. Expected one of: {', '.join(DATA)}\."):
        load_data("mnist")


def test_unknown_argument_is_refused():
    with pytest.raises(
        ValueError,
        match=r"'digits' does not take 'noise'\. Expected arguments: num_train, validation, label_noise, split_seed\.",
    ):
        load_data("digits", noise=0.1)

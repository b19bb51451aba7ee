import numpy as np
import pytest
import torch

from landscape.data import DataError
from landscape.data.arrays import Labelled, channel_statistics, channels_first, from_arrays


def labelled(images, labels, where="here"):
    return Labelled(np.asarray(images), np.asarray(labels), where)


GOOD = labelled(np.zeros((3, 1, 2, 2), np.uint8), [0, 1, 2])


def test_statistics_are_exact_over_all_pixels():
    images = np.random.default_rng(0).integers(256, size=(2300, 3, 3, 5), dtype=np.uint8)  # more than one chunk
    images[:, 1] //= 3
    mean, std = channel_statistics(images)
    scaled = images / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_is_harmless():
    data = from_arrays("x", {}, GOOD, GOOD)
    assert torch.equal(data.train.prepare(data.train.inputs), torch.zeros(3, 1, 2, 2))


def test_both_parts_are_normalized_by_the_train_pixels():
    rng = np.random.default_rng(0)
    train, test = (labelled(rng.integers(top, size=(9, 3, 4, 4), dtype=np.uint8), range(9)) for top in (255, 100))
    data = from_arrays("x", {}, train, test)
    prepared = data.train.prepare(data.train.inputs)
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(prepared.std((0, 2, 3), correction=0), 1, rtol=1e-5)
    assert (data.test.mean, data.test.std) == (data.train.mean, data.train.std)


def test_floats_are_left_alone():
    images = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(">f8")
    part = labelled(images, [1, 0])
    data = from_arrays("x", {}, part, part)
    assert data.train.inputs.dtype == torch.float32
    np.testing.assert_array_equal(data.train.batches()[0][0], images.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 9), (5, 1, 8, 9)),
        ((5, 8, 9, 1), (5, 1, 8, 9)),
        ((5, 8, 9, 3), (5, 3, 8, 9)),
        ((5, 3, 8, 9), (5, 3, 8, 9)),
        ((5, 1, 8, 9), (5, 1, 8, 9)),
    ],
)
def test_channels_come_first(shape, expected):
    images = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    got = channels_first(images, "here")
    assert got.shape == expected
    channel = images[..., -1] if shape[3:] in ((1,), (3,)) else images.reshape(5, -1, 8, 9)[:, -1]
    assert np.array_equal(got[:, -1], channel)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 64), np.uint8), r"shape \(4, 64\)"),
        (np.zeros((4, 8, 8, 4), np.uint8), "1 or 3 channels"),
        (np.zeros((4, 8, 8), np.int64), "images of int64"),
        (np.zeros((4, 8, 8), bool), "images of bool"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        channels_first(images, "here")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (labelled(np.zeros((3, 1, 2, 2), np.uint8), [0, 1], "there"), "^there: has 3 images, and labels of shape"),
        (labelled(np.zeros((2, 1, 2, 2), np.uint8), [[0], [1]], "there"), "Expected one whole number an image"),
        (labelled(np.zeros((2, 1, 2, 2), np.uint8), [0.0, 1.0], "there"), "type float64"),
        (labelled(np.zeros((0, 1, 2, 2), np.uint8), np.zeros(0, int), "there"), "at least one image"),
        (labelled(np.zeros((2, 1, 2, 2), np.uint8), [0, -1], "there"), r"^there: has labels from -1 to 0\."),
        (labelled(np.zeros((2, 1, 2, 2), np.uint8), [0, 3], "there"), r"from 0 to 3\. Expected 0 to 2\."),
        (
            labelled(np.zeros((2, 1, 2, 3), np.uint8), [0, 1], "there"),
            r"shape \(1, 2, 3\)\. Expected uint8 of \(1, 2, 2\)",
        ),
        (labelled(np.zeros((2, 1, 2, 2)), [0, 1], "there"), "has float64 images"),
    ],
)
def test_parts_that_do_not_fit_are_refused(test, message):
    with pytest.raises(DataError, match=message):
        from_arrays("x", {}, GOOD, test, num_classes=3)

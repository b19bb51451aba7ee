"""Augmentation of a batch beside loops over its images, with the same draws; and what is drawn."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from landscape.data import Split, augment
from landscape.data.augment import random_crop, random_cutout, random_flip


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[torch.uint8, torch.float32], ids=str)
def images(request) -> Tensor:
    return torch.randint(1, 256, (50, 3, 6, 9), generator=seeded(0)).to(request.param)


def test_flip(images):
    draws = torch.rand(50, generator=seeded())
    flipped = random_flip(images, generator=seeded())
    assert 10 < (draws < 0.5).sum() < 40
    for index, image in enumerate(images):
        expected = torch.stack([image[..., column] for column in range(8, -1, -1)], -1) if draws[index] < 0.5 else image
        assert torch.equal(flipped[index], expected)


@pytest.mark.parametrize("padding", [1, 4, 7])
def test_crop(images, padding):
    tops, lefts = torch.randint(2 * padding + 1, (2, 50, 1), generator=seeded())[..., 0].tolist()
    cropped = random_crop(images, padding, generator=seeded())
    assert cropped.is_contiguous()
    assert (min(tops), max(lefts)) == (0, 2 * padding)  # both ends are drawn
    for index, image in enumerate(images):
        larger = torch.zeros(3, 6 + 2 * padding, 9 + 2 * padding, dtype=image.dtype)
        larger[:, padding : padding + 6, padding : padding + 9] = image
        top, left = tops[index], lefts[index]
        assert torch.equal(cropped[index], larger[:, top : top + 6, left : left + 9])
        assert torch.equal(larger, pad(image, (padding,) * 4))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 30])
def test_cutout(images, size):
    generator = seeded()
    ys, xs = (torch.randint(length, (50, 1), generator=generator)[:, 0].tolist() for length in (6, 9))
    cut = random_cutout(images, size, generator=seeded())
    assert (set(ys), set(xs)) == (set(range(6)), set(range(9)))
    for index, image in enumerate(images):
        expected = image.clone()
        for y in range(ys[index] - size // 2, ys[index] - size // 2 + size):
            for x in range(xs[index] - size // 2, xs[index] - size // 2 + size):
                if 0 <= y < 6 and 0 <= x < 9:
                    expected[:, y, x] = 0
        assert torch.equal(cut[index], expected)


def test_cutout_is_that_of_devries_for_even_sides():
    generator = seeded()
    ys, xs = (torch.randint(9, (50, 1), generator=generator)[:, 0].tolist() for _ in range(2))
    cut = random_cutout(torch.ones(50, 1, 9, 9), 4, generator=seeded())
    for index, (y, x) in enumerate(zip(ys, xs, strict=True)):
        mask = torch.ones(9, 9)
        mask[max(y - 2, 0) : min(y + 2, 9), max(x - 2, 0) : min(x + 2, 9)] = 0  # their four clipped corners
        assert torch.equal(cut[index, 0], mask)


def test_all_at_once_in_order_and_nothing_by_default():
    pixels = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8, generator=seeded(0))
    split = Split(pixels, torch.zeros(20, dtype=torch.int64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert torch.equal(augment(pixels, split.prepare, generator=seeded()), split.prepare(pixels))
    generator = seeded()
    expected = random_flip(random_crop(pixels, 2, generator=generator), generator=generator)
    expected = random_cutout(split.prepare(expected), 3, generator=generator)
    got = augment(pixels, split.prepare, generator=seeded(), flip=True, crop=2, cutout=3)
    assert torch.equal(got, expected)
    assert got.dtype == torch.float32
    assert not torch.equal(got, augment(pixels, split.prepare, generator=seeded(4), flip=True, crop=2, cutout=3))


@pytest.mark.parametrize("name", ["crop", "cutout"])
def test_negative_lengths_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=-1 is out of range\. Expected a number of pixels, or 0 for none\."):
        augment(torch.zeros(1, 3, 8, 8), lambda x: x, generator=seeded(), **{name: -1})

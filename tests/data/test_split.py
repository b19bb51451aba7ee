from dataclasses import replace

import pytest
import torch
from torch import nn

from landscape.data import Split
from landscape.objective import Objective

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def numbered(counts: list[int]) -> Split:
    """A split whose inputs are 0, 1, 2, ..., with `counts[c]` examples of class c, the classes interleaved."""
    targets = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))]
    return Split(torch.arange(len(targets), dtype=torch.float32).reshape(-1, 1, 1, 1), targets)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(None, [10]), (1, [1] * 10), (4, [4, 4, 2]), (5, [5, 5]), (99, [10])]
)
def test_batches_are_the_split_in_order(batch_size, sizes):
    split = numbered([6, 4])
    batches = split.batches(batch_size)
    assert [len(targets) for _, targets in batches] == sizes
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split.inputs)
    assert torch.equal(torch.cat([targets for _, targets in batches]), split.targets)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_out_of_range(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} is out of range"):
        numbered([6, 4]).batches(batch_size)


def pixels(num_examples: int = 10, channels: int = 3) -> Split:
    """A split of random uint8 images, normalized."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(256, (num_examples, channels, 4, 5), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(num_examples) % 3, MEAN[:channels], STD[:channels])


def test_pixels_are_scaled_and_normalized_a_channel():
    split = pixels()
    prepared = split.prepare(split.inputs)
    assert prepared.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        expected = (split.inputs[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(prepared[:, channel].double(), expected, rtol=0, atol=1e-6)
    plain = replace(split, mean=(), std=())
    torch.testing.assert_close(plain.prepare(split.inputs), split.inputs / 255)


def test_prepared_pixels_are_those_of_torchvision_to_the_bit():
    split = pixels()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    scaled = split.inputs.to(torch.float32).div(255)  # ToTensor
    assert torch.equal(split.prepare(split.inputs), scaled.sub(mean).div(std))  # Normalize


def test_floats_are_never_normalized():
    split = replace(pixels(), inputs=torch.rand(10, 3, 4, 5))
    assert split.prepare(split.inputs) is split.inputs


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [10]), (4, [4, 4, 2]), (5, [5, 5]), (99, [10])])
def test_batches_of_pixels_are_prepared_when_asked_for(batch_size, sizes):
    split = pixels()
    before = split.inputs.clone()
    batches = split.batches(batch_size)
    assert len(batches) == len(sizes)
    for _ in range(2):  # a second pass is the same
        assert [len(targets) for _, targets in batches] == sizes
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split.prepare(before))
        assert torch.equal(torch.cat([targets for _, targets in batches]), split.targets)
    assert torch.equal(split.inputs, before)


def test_batches_of_pixels_are_a_sequence():
    batches = pixels().batches(4)
    assert torch.equal(batches[-1][0], batches[2][0])
    assert [len(targets) for _, targets in batches[1:]] == [4, 2]
    assert batches[:0] == []
    with pytest.raises(IndexError):
        batches[3]


def test_an_objective_takes_pixels_as_it_takes_floats():
    split = pixels()
    floats = Split(split.prepare(split.inputs), split.targets)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    a, b = (Objective(model, nn.CrossEntropyLoss(), s.batches(4)) for s in (split, floats))
    assert a.num_examples == 10
    assert torch.equal(a.gradient(), b.gradient())
    assert torch.equal(a.losses(), b.losses())


def test_a_sample_and_a_moved_split_stay_normalized():
    split = pixels()
    sample = split.sample(4, seed=0)
    assert sample.inputs.dtype == torch.uint8
    assert torch.equal(sample.prepare(split.inputs), split.prepare(split.inputs))
    assert torch.equal(split.to("cpu").prepare(split.inputs), split.prepare(split.inputs))
    assert split.to("meta").inputs.device == split.to("meta").targets.device == torch.device("meta")


@pytest.mark.parametrize("num_examples", [1, 7, 10, 50, 99, 100])
def test_sample_is_a_stratified_subset_in_order(num_examples):
    counts = [61, 30, 9]
    split = numbered(counts)
    sample = split.sample(num_examples, seed=0)
    index = sample.inputs.flatten().long()
    assert len(sample) == num_examples
    assert torch.equal(index, index.unique())  # sorted, none twice
    assert torch.equal(sample.targets, split.targets[index])
    share = torch.tensor(counts) * num_examples / 100
    assert (sample.targets.bincount(minlength=3) - share).abs().max() < 1


def test_sample_is_fixed_by_its_seed_alone():
    split = numbered([61, 30, 9])
    before = torch.get_rng_state()
    first, again, other = (split.sample(20, seed=seed).inputs for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sample_is_uniform_within_a_class():
    split = numbered([8, 4])
    drawn = torch.zeros(12)
    for seed in range(600):
        drawn[split.sample(3, seed=seed).inputs.flatten().long()] += 1
    # Two of eight and one of four: each is Binomial(600, 1/4), with mean 150 and standard deviation 10.6.
    assert (drawn - 150).abs().max() < 45


@pytest.mark.parametrize("num_examples", [0, -1, 11])
def test_sample_size_out_of_range(num_examples):
    with pytest.raises(
        ValueError, match=rf"num_examples={num_examples} is out of range\. Expected 1 <= num_examples <= 10"
    ):
        numbered([6, 4]).sample(num_examples, seed=0)

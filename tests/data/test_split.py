import pytest
import torch

from landscape.data import Split


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

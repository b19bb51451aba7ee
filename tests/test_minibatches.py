"""Random mini-batches: every row once, beside what belongs to it, of data of any kind and however batched."""

from dataclasses import dataclass
from itertools import chain

import pytest
import torch
from torch import Tensor

from landscape.data import Split
from landscape.data.examples import Examples
from landscape.minibatches import minibatches


def deal(batches, num_rows, *, seed=0, **options):
    return minibatches(lambda: batches, num_rows, generator=torch.Generator().manual_seed(seed), **options)


def rows_in(dealt, get):
    return [[row for part in each for row in get(part).tolist()] for each in dealt]


@dataclass
class Both:
    x: Tensor
    table: Tensor  # which holds no rows, though it may be as long as some part
    name: str = "a"


def test_every_row_is_dealt_once_in_mini_batches_of_the_size():
    x = torch.arange(23)
    dealt = deal([(some, 10 * some) for some in x.split(7)], 5)
    assert [sum(len(part[0]) for part in each) for each in dealt] == [5, 5, 5, 5, 3]
    assert sorted(chain(*rows_in(dealt, lambda part: part[0]))) == x.tolist()
    assert all(torch.equal(10 * part[0], part[1]) for each in dealt for part in each)
    assert all(len(part[0]) <= 7 for each in deal([(some,) for some in x.split(7)], 20) for part in each)
    assert len(dealt[0]) == 1  # rows of several batches are one part


def test_they_depend_on_the_seed_and_not_on_how_the_data_are_batched():
    x = torch.arange(40)
    found = [rows_in(deal([{"x": some} for some in x.split(size)], 8), lambda part: part["x"]) for size in (40, 7, 1)]
    assert found[0] == found[1] == found[2]
    assert rows_in(deal([{"x": x}], 8, seed=1), lambda part: part["x"]) != found[0]


def test_some_rows_of_the_data_are_a_random_subset():
    counts = torch.zeros(20)
    for seed in range(400):
        for each in deal([(torch.arange(20),)], 4, seed=seed, num_examples=5):
            counts[each[0][0]] += 1
    assert counts.sum() == 400 * 5
    assert ((counts - 100).abs() < 4 * (100 * 0.75) ** 0.5).all()


def test_what_holds_no_rows_goes_with_them():
    table = torch.arange(5)
    batches = [Both(some, table) for some in torch.arange(30).split(10)]
    dealt = deal(batches, 5)  # mini-batches as long as the table
    assert all(len(each) == 1 and torch.equal(each[0].table, table) for each in dealt)
    apart = deal([Both(torch.arange(10), table), Both(torch.arange(10, 20), table + 1)], 20)
    assert sorted(int(part.table[0]) for part in apart[0]) == [0, 1]
    for part in apart[0]:
        assert (part.x >= 10).all() if part.table[0] else (part.x < 10).all()


def test_rows_padded_to_other_lengths_stay_apart():
    rows = {"input_ids": [[n + 1] * (1 + n % 3) for n in range(12)]}
    examples = Examples.padded(rows, {"input_ids": 0})
    dealt = deal(examples.batches(1), 6)
    assert sorted(row[0] for each in rows_in(dealt, lambda part: part["input_ids"]) for row in each) == list(
        range(1, 13)
    )
    assert all((part["input_ids"] > 0).all() for each in dealt for part in each)


def test_splits_of_pixels():
    split = Split(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1), torch.arange(12))
    dealt = deal(split.batches(5), 4)
    assert all(torch.equal((255 * x).round().flatten().long(), y) for each in dealt for x, y in each)


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match="one row an example"):
        deal([(torch.tensor(1.0),)], 2)

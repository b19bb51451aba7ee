"""A data set as a re-iterable of batches: refusing what changes between passes, moving and cutting what does not.

A batch is a tensor, or any nesting of tuples, lists, mappings, dataclasses and objects whose attributes are tensors
(as a graph of torch_geometric). Its first tensor's first dimension is its number of rows; every tensor with that first
dimension is cut along when a batch is split.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from landscape.attributes import of_user, version
from landscape.content import DataHash

_SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def refuse_unfixed(data: Iterable[Any]) -> None:
    """Raise ValueError, by name, for data that cannot be the same in every pass."""
    if not isinstance(data, Iterable):
        raise ValueError(f"data is {type(data).__name__}. Expected a re-iterable of batches: a list or a DataLoader.")
    if isinstance(data, Iterator):
        raise ValueError(
            f"data is a one-shot {type(data).__name__}, empty after the first pass. Pass list(data), or a DataLoader."
        )
    if isinstance(data, (Tensor, Mapping)):
        what = "tensor. Expected a list of batches: pass [(inputs, targets)]."
        if isinstance(data, Mapping):
            what = "mapping. Expected a list of batches: pass [batch]."
        raise ValueError(f"data is a single {what}")
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, _SHUFFLING) or getattr(data.sampler, "shuffle", False):
            raise ValueError(
                f"The DataLoader shuffles ({type(data.sampler).__name__}). Measure with DataLoader(..., shuffle=False)."
            )
        if data.drop_last or _drops(data.batch_sampler, data.dataset):
            raise ValueError(
                "The DataLoader has drop_last=True, which leaves examples out. Measure with drop_last=False."
            )


def _drops(batches: Any, dataset: Any) -> bool:
    """Whether a batch sampler of the user's leaves out a last batch that is not full."""
    if not getattr(batches, "drop_last", False):
        return False
    try:
        return len(batches) * batches.batch_size < len(getattr(batches, "sampler", dataset))
    except (AttributeError, TypeError):  # which do not tell how many they are
        return False


def apart(data: Iterable[Any]) -> Iterable[Any]:
    """A ``DataLoader`` of the same batches that others, who may be looping over ``data``, do not see; else ``data``.

    Persistent workers have one iterator a loader: to begin another pass would begin theirs anew.
    """
    if not isinstance(data, DataLoader):
        return data
    own = copy.copy(data)
    vars(own).update({name: apart(one) for name, one in vars(own).items() if isinstance(one, DataLoader)})
    vars(own)["_iterator"] = None
    return own


def refuse_changing(data: Iterable[Any]) -> str | None:
    """Raise ValueError where two passes over ``data`` differ: augmentation, noise or a shuffling batch sampler.

    Returns:
        the hash of all batches; None of a list, over which no pass is made, and of data that know their own.
    """
    if isinstance(data, (list, tuple)):
        return None  # the same objects in every pass
    first, second = DataHash(), DataHash()
    for index, (one, other) in enumerate(zip_longest([first.add(batch) for batch in data], map(second.add, data))):
        if one != other:
            raise ValueError(
                f"Two passes over the data differ, first at batch {index}: it is shuffled, augmented or random. "
                "Turn off shuffling and random transforms, or pass list(loader) to fix one draw."
            )
    if hasattr(data, "content_hash"):
        return None
    return first.hexdigest(tensors_only=first.hexdigest() != second.hexdigest())


def held(data: Iterable[Any]) -> list[tuple[Any, int]]:
    """The tensors and other objects that data in memory are made of, each with how often it was written to in place.

    Of a list they are those of its batches, of a ``DataLoader`` those that its dataset keeps as attributes.
    """
    if isinstance(data, DataLoader):
        datasets = [data.dataset]
        for dataset in datasets:
            inner = [getattr(dataset, "dataset", None), *getattr(dataset, "datasets", ())]
            datasets += [one for one in inner if isinstance(one, Dataset)]
        return [(t, version(t)) for dataset in datasets for t in _tensors(getattr(dataset, "__dict__", {}))]
    batches = data if isinstance(data, (list, tuple)) else ()
    return [(t, version(t)) for batch in batches for t in _tensors(batch)]


def generators(data: Iterable[Any]) -> list[torch.Generator]:
    """The random generators that a pass over ``data`` advances, beside the global ones."""
    return [data.generator] if isinstance(data, DataLoader) and data.generator is not None else []


def lent(batch: Any) -> Any:
    """The same tensors in containers of one's own, from which entries may be taken."""
    if type(batch) is tuple and all(isinstance(entry, Tensor) for entry in batch):
        return batch
    return map_tensors(batch, lambda t: t)


def copied(batch: Any) -> Any:
    """The batch with tensors and containers of its own, which may be changed: ``batch.pop("labels")``, ``x.div_(255)``.

    Example:
        >>> batch = {"x": [torch.ones(2)], "name": "a"}
        >>> _ = copied(batch).pop("name"), copied(batch)["x"][0].zero_()
        >>> batch
        {'x': [tensor([1., 1.])], 'name': 'a'}
    """
    return map_tensors(batch, lambda t: t.detach().clone().requires_grad_(t.requires_grad))


def to(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """The batch with every tensor on ``device``, and floating and complex ones of that precision unless it is None."""

    def moved(t: Tensor) -> Tensor:
        kind = None if dtype is None else dtype.to_complex() if t.is_complex() else dtype
        return _normal(t).to(device, kind if t.is_floating_point() or t.is_complex() else None)

    return map_tensors(batch, moved)


def _normal(t: Tensor) -> Tensor:
    """A copy of a tensor made in inference mode, which autograd could not save; any other as it is."""
    return t.clone() if t.is_inference() else t


def split(batch: Any, num_rows: int | None) -> Iterator[Any]:
    """The batch in consecutive parts of at most ``num_rows`` rows. Raises ValueError as ``recut``."""
    num_all = num_rows_of(batch)
    if num_rows is None or (num_all is not None and num_all <= num_rows):
        yield batch
    else:
        for (part,) in recut([batch], num_rows):
            yield part


def recut(batches: Iterable[Any], num_rows: int) -> Iterator[list[Any]]:
    """All rows in their order, cut anew: lists of parts that hold ``num_rows`` rows together, the last one the rest.

    Raises:
        ValueError: where a batch has no rows to cut.
    """
    parts: list[Any] = []
    room = num_rows
    for batch in batches:
        start, num_all = 0, num_rows_of(batch)
        if num_all is None:
            raise ValueError(
                "A batch is cut along the rows of its first tensor, and this one has none. Expected one row an "
                "example: give such batches, or leave out microbatch= and metrics of mini-batches."
            )
        while start < num_all:
            stop = min(start + room, num_all)
            parts.append(map_tensors(batch, partial(_rows, start, stop, num_all)))
            start, room = stop, room - (stop - start)
            if not room:
                yield parts
                parts, room = [], num_rows
    if parts:
        yield parts


def pick(batch: Any, rows: Tensor) -> Any:
    """Some rows of a batch (k,), as it is cut: of every tensor whose first dimension is that of the first.

    Example:
        >>> pick((torch.arange(4), torch.arange(3)), torch.tensor([3, 0]))
        (tensor([3, 0]), tensor([0, 1, 2]))
    """
    num_all = num_rows_of(batch)
    return map_tensors(batch, lambda t: t[rows.to(t.device)] if t.ndim and len(t) == num_all else t)


def num_rows_of(batch: Any) -> int | None:
    """The rows of its first tensor; None where there is no such thing."""
    first = next(iter(_tensors(batch)), None)
    return len(first) if first is not None and first.ndim else None


def _rows(start: int, stop: int, num_all: int, t: Tensor) -> Tensor:
    return t[start:stop] if t.ndim and len(t) == num_all else t


def map_tensors(batch: Any, function: Callable[[Tensor], Tensor], inside: tuple[Any, ...] = ()) -> Any:
    """The batch with every tensor replaced; ``inside`` are the objects that lead there."""

    def each(value: Any) -> Any:
        return map_tensors(value, function, inside)

    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, MutableMapping):  # a shallow copy keeps the type: Hugging Face's BatchEncoding has attributes
        mapped = copy.copy(batch)
        for key, value in batch.items():
            mapped[key] = each(value)
        return mapped
    if isinstance(batch, Mapping):
        return {key: each(value) for key, value in batch.items()}
    if isinstance(batch, PackedSequence):
        of_data = {name: each(getattr(batch, name)) for name in ("data", "sorted_indices", "unsorted_indices")}
        return batch._replace(**of_data)  # its sizes stay on the CPU, where torch wants them
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(each, batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(map(each, batch))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(batch, **{name: each(getattr(batch, name)) for name in names})
    if _has_tensors(batch, inside):
        mapped, inside = copy.copy(batch), (*inside, batch)
        vars(mapped).update({name: each(value) for name, value in vars(mapped).items()})
        return mapped
    return batch


def _has_tensors(value: Any, inside: tuple[Any, ...]) -> bool:
    """Whether it is an object of a user's class, and no module, among whose attributes are tensors."""
    if not of_user(type(value)) or isinstance(value, torch.nn.Module) or any(value is one for one in inside):
        return False
    return bool(_tensors(list(getattr(value, "__dict__", {}).values()), (*inside, value)))


def _tensors(batch: Any, inside: tuple[Any, ...] = ()) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        found.append(t)
        return t

    map_tensors(batch, keep, inside)
    return found

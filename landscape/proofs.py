"""What makes a loss no function of the weights alone, found by numbers on a few examples before anything is measured.

- rows that are cut apart: the losses of a few examples computed at once, and in two parts;
- gradients: the losses of some rows with gradients off, and on, where some kernels are others, and where the graph
  shows parameters of the model that did not come through it: at other weights, they would stay what they are;
- ``train()`` and ``eval()`` that act: the losses at other weights with the flags set, and after calls of both;
- what an earlier call has left: the losses at other weights, and with an attribute emptied that the model then fills
  again. A value of the old weights would serve at all others.

Cost: forward passes over two to four examples, four in most cases and none where there is nothing to be asked.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.batches import num_rows_of, pick, recut
from landscape.derivatives import in_words, nodes, two_functions
from landscape.losses import BatchError, Terms, same_losses
from landscape.passes import Passes

_EXAMPLES = 16  # that are cut apart
_ROWS = 64  # of which gradients may change the losses
_MOVE = 0.01  # of the weights, to where a value of the old ones is noticed

_Place = tuple[Any, Any]  # a container and a key
_Path = tuple[_Place, ...]  # from an attribute inward


def refuse_cut_rows(passes: Passes, batch: Any) -> None:
    """Raise ValueError where the losses of a batch's first rows are others in two parts."""
    num_all = num_rows_of(batch) or 0
    if num_all < 2:
        return
    few = max(2, min(_EXAMPLES, passes.microbatch or _EXAMPLES))
    some = batch if num_all <= _EXAMPLES else _rows(batch, few)  # as it is: picking rows is cutting too
    num_rows = min(num_all, few) if some is not batch else num_all
    parts = [[part for (part,) in recut([some], size)] for size in (num_rows, (num_rows + 1) // 2)]

    def losses() -> list[Tensor]:
        return [torch.cat([passes.terms(part).losses for part in some]).detach() for some in parts]

    try:
        whole, halves = passes.with_parameters(passes.leaves(requires_grad=False), losses)
        in_order = Tensor.msort if passes.per_example else lambda found: found.sum()[None]
        same, why = (
            same_losses(in_order(whole), in_order(halves), eps=passes.eps),
            f"the losses of {num_rows} rows are others in two parts",
        )
    except BatchError as error:
        same, why = False, str(error).rstrip(".")
    if not same:
        raise ValueError(
            f"A batch cannot be cut along the rows of its first tensor: {why}. Examples see each other, or a tensor of "
            f"{num_all} rows is cut too that holds no row an example. Leave out microbatch= and metrics of "
            "mini-batches, or keep such a tensor in the model or the loss."
        )


def refuse_two_functions(passes: Passes, batch: Any) -> None:
    """Raise ValueError where losses of some rows are others with gradients on, or use parameters beside the model."""
    own = {id(p): name.removeprefix("model.") for name, p in passes.loss_terms.named_parameters()}

    def losses(on: bool) -> Tensor:
        leaves = passes.leaves(requires_grad=on)
        return passes.with_parameters(leaves, partial(passes.terms, few)).losses

    few = _rows(batch, min(_ROWS, passes.microbatch or _ROWS))
    try:
        off, on = losses(False), losses(True)
    except (ValueError, RuntimeError):  # cannot be cut, or has no gradients, which is told where they are asked for
        return
    met = {id(getattr(node, "variable", None)) for node in nodes([on])}
    beside = [name for key, name in own.items() if key in met]
    if beside:
        raise ValueError(
            f"The loss uses {in_words(beside)} beside the model that it is given (a list of parameters made before, a "
            "closure, a hook): at other weights it would stay what it is. Take model.named_parameters() inside of the "
            "loss, or self.<module>.weight inside of forward()."
        )
    on = on.detach()
    if not same_losses(off, on, eps=passes.eps):
        raise ValueError(f"On {len(off)} examples: {two_functions(float(off.mean()), float(on.mean()))}")


def refuse_acting_modes(passes: Passes, batch: Any) -> None:
    """Raise ValueError where the losses at other weights depend on calls of ``train`` and ``eval``."""
    acting = {
        type(module).__name__
        for module in passes.model.modules()
        if (type(module).train, type(module).eval) != (nn.Module.train, nn.Module.eval)
        or vars(module).keys() & {"train", "eval"}
    }
    if not acting:
        return
    training = passes.mode == "train"
    batch, flagged = _few(passes, batch)

    def after_calls() -> Terms:
        passes.model.train(not training)
        passes.model.train(training)
        return passes.terms(batch)

    try:
        same = same_losses(flagged, _elsewhere(passes, after_calls))
    except (NotImplementedError, BatchError):  # exported programs have one mode
        return
    if not same:
        first, second = ("eval", "train") if training else ("train", "eval")
        raise ValueError(
            f"train() or eval() of {', '.join(sorted(acting))} does more than set a flag, and the loss depends on it. "
            f"Call model.{first}() and then model.{second}() before measuring, and nothing in between: then caches are "
            "empty, and adapters as they should be."
        )


def refuse_stale_values(passes: Passes, batch: Any) -> None:
    """Raise ValueError where the losses at other weights depend on an attribute that an earlier call has filled."""
    paths, numbers = list(_paths(passes)), _numbers(passes)
    if not (paths or numbers):
        return
    batch, kept = _few(passes, batch)

    def emptied(places: list[_Place]) -> Iterator[tuple[bool, bool]]:
        """Whether the model fills them again, and whether its losses are the same: for each way of emptying them."""
        for empty in (_set_none, _delete, _set_empty):
            if empty is not _set_empty or any(isinstance(_at(*place), tuple) for place in places):
                with suppress(Exception):  # what is missing is computed nowhere, which an assertion may tell too
                    filled, losses = _emptied(passes, batch, places, empty)
                    yield filled, same_losses(kept, losses)

    def serve_nothing(some: list[_Path]) -> bool:
        return any(same for _, same in emptied([path[-1] for path in some]))

    by_attribute: dict[Any, list[_Path]] = {}
    for path in [] if not paths or serve_nothing(paths) else paths:
        by_attribute.setdefault((id(path[0][0]), path[0][1]), []).append(path)
    groups: list[tuple[list[_Path], list[_Place]]] = [([(place,) for place in places], places) for places in numbers]
    for some in by_attribute.values():
        if not serve_nothing(some):
            each = {(id(place[0]), place[1]): place for path in some for place in reversed(path)}
            groups += [(some, [place]) for place in each.values()]
    for some, places in groups:
        if any(filled and not same for filled, same in emptied(places)):
            raise ValueError(
                f"The attribute {_name(some, places[0])!r} was filled by an earlier call of the model, which does not "
                "compute it anew: at other weights, the loss would be that of a value of the old ones. Make it what it "
                "was before the first call (None, say), and measure then."
            )


def _rows(batch: Any, num_rows: int) -> Any:
    """Random rows of a batch, in their order; all of one that has none, or no more."""
    num_all = num_rows_of(batch) or 0
    if num_all <= num_rows:
        return batch
    return pick(batch, torch.randperm(num_all, generator=torch.Generator().manual_seed(0))[:num_rows].sort().values)


def _few(passes: Passes, batch: Any) -> tuple[Any, Tensor]:
    """Two rows of a batch and their losses at other weights; or all, of what cannot be cut or called on two."""
    try:
        few = next(recut([batch], 2), [batch])[0]
        return few, _elsewhere(passes, partial(passes.terms, few))
    except Exception:  # of the model's
        return batch, _elsewhere(passes, partial(passes.terms, batch))


def _paths(passes: Passes) -> Iterator[_Path]:
    """Where tensors are kept, from an attribute inward. Modules of torch itself keep none in buffers."""
    if passes.attributes is not None:
        yield from passes.attributes.places()
    for module in passes.model.modules():
        if not type(module).__module__.startswith("torch."):
            yield from (((module._buffers, name),) for name, buffer in module._buffers.items() if buffer is not None)


def _numbers(passes: Passes) -> list[list[_Place]]:
    """Where floating numbers are attributes of modules of the user's: those of one class and name together."""
    found: dict[Any, list[_Place]] = {}
    for module in passes.loss_terms.modules():
        if type(module).__module__.partition(".")[0] not in ("torch", "landscape"):
            for name, value in vars(module).items():
                if isinstance(value, float):
                    found.setdefault((type(module), name), []).append((vars(module), name))
    return list(found.values())


def _name(paths: list[_Path], place: _Place) -> str:
    """The keys that lead to a place, from an attribute inward."""
    path = next(path for path in paths if any(one is place for one in path))
    inward = path[: [one is place for one in path].index(True) + 1]
    return ".".join(str(key) for _, key in inward if isinstance(key, (str, int)))


def _emptied(
    passes: Passes, batch: Any, places: list[_Place], empty: Callable[[Any, Any], None]
) -> tuple[bool, Tensor]:
    """Whether the model fills the emptied places, and its losses at other weights."""
    filled = False

    def work() -> Terms:
        nonlocal filled
        for container, key in places:
            empty(container, key)
        left = [_at(*place) for place in places]
        terms = passes.loss_terms.of(batch)
        filled = all(_at(*place) is not before for place, before in zip(places, left, strict=True))
        return terms

    losses = _elsewhere(passes, work)
    return filled, losses


def _at(container: Any, key: Any) -> Any:
    """What is at a place, which is all of a set; None where nothing is."""
    if isinstance(container, set):
        return container or None
    try:
        return container[key]
    except LookupError:
        return None


def _set_none(container: Any, key: Any) -> None:
    if isinstance(container, set):
        container.clear()
    elif key in container if isinstance(container, MutableMapping) else key < len(container):
        container[key] = None


def _delete(container: Any, key: Any) -> None:
    """Delete an entry of a mapping; all of a list, which is filled from its start."""
    if isinstance(container, MutableMapping):
        container.pop(key, None)
    else:
        container.clear()


def _set_empty(container: Any, key: Any) -> None:
    if isinstance(_at(container, key), tuple):
        container[key] = ()
    else:
        _set_none(container, key)


def _elsewhere(passes: Passes, work: Any) -> Tensor:
    """The losses of the terms that ``work`` returns, at other weights, to which the model may write."""
    draws = torch.Generator().manual_seed(0)
    leaves = passes.leaves(requires_grad=False)
    for leaf in leaves:
        noise = torch.randn(leaf.shape, generator=draws, dtype=torch.float64).to(leaf)
        leaf.data = leaf.data + _MOVE * (leaf.data.abs() + leaf.data.abs().mean() + _MOVE) * noise
    with passes.copied():
        return passes.with_parameters(leaves, work).losses.detach()

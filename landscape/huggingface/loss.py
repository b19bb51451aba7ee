"""The loss of a model of transformers, as the mean over all counted tokens, or examples, of all batches.

A model's own loss is the mean over one batch, in float32. Here every counted token weighs the same, whatever its batch.
Counted are:

    causal          the labels from the second on, each by the logits before it; without labels, ``input_ids``
    masked, tokens  the labels, each by the logits at its own place
    seq2seq         likewise; not the padding tokens at their end, where those are no end tokens
    sequences,      an example each, by cross-entropy, mean squared error or binary cross-entropy, as ``problem_type``
      images        says

and none that is -100. **Padding is never counted**, also where labels are a copy of ``input_ids``: a label at which
``attention_mask`` is 0 is left out and, in a causal model, one whose logits are of such a place. Causal models that
take ``position_ids`` get those that generation gives them: padding at the left is then the same as at the right.
"""

import inspect
import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from landscape.batches import lent, pick
from landscape.huggingface.library import first_position, library, no_loss, quiet, task_of
from landscape.losses import Terms, counted_tokens
from landscape.objective import Objective
from landscape.outputs import output_of

_IGNORED = -100
_TOLERANCE = 1e-4  # of the model's own loss, which is computed in float32
_SAME = 2e-5  # of losses that padding does not change
_OTHER = 1e-3  # of losses that it surely does, whatever the rounding of a deep model
_MOVE = 0.1  # of the weights, to where losses differ that are the same under a head of zeros


@dataclass(frozen=True)
class ModelLoss:
    """``loss(model, batch)`` for ``Objective``: what ``loss_of`` makes.

    Attributes:
        task: a key of ``landscape.huggingface.library.TASKS``.
        problem_type: "regression", "single_label_classification", "multi_label_classification"; None: by the labels.
        positions: the first of ``position_ids``, where a causal model takes those.
        padding: the label that pads the end of labels, beside -100.
        has_padding_row: whether an embedding has one, to which torch gives no gradient, though the loss depends on it
            wherever its token is read (as where it ends texts, or begins the decoder's).
    """

    task: str
    problem_type: str | None = None
    positions: int | None = None
    padding: int | None = None
    has_padding_row: bool = False

    def __call__(self, model: nn.Module, batch: Any) -> Terms:
        """The terms of a batch: a loss, and whether it is classified correctly, of all that counts."""
        given = self.prepared(batch)
        labels = given["labels"]
        if self.task != "seq2seq":  # which makes the decoder's input of them
            del given["labels"]
        wide = any(p.dtype is torch.float64 for p in model.parameters())
        with _WholeGradients() if self.has_padding_row else nullcontext(), _Wide() if wide else nullcontext():
            logits = output_of(model(**given), None)
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"The model returned {type(logits).__name__} without logits. Expected an output with them: set "
                "model.config.return_dict = True."
            )
        if self.task in ("sequences", "images"):
            return self._of_examples(logits, labels)
        if self.task == "causal" and logits.ndim == 3 and (learned := logits.shape[1] - labels.shape[1]) > 0:
            labels = functional.pad(labels, (learned, 0), value=_IGNORED)  # a prompt before the text, as peft puts it
        scores, targets = counted_tokens(logits, labels, shift=self.task == "causal")
        return _cross_entropy(logits, scores, targets)

    def prepared(self, batch: Any) -> dict[str, Any]:
        """What the model is called with, its labels those of what counts."""
        if self.task == "images" and isinstance(batch, (tuple, list)) and len(batch) == 2:
            return {"pixel_values": batch[0], "labels": batch[1]}
        if not isinstance(batch, Mapping):
            raise ValueError(
                f"A batch is {type(batch).__name__}. Expected a mapping with what the model takes by name."
            )
        given = {key: value for key, value in batch.items() if value is not None}
        if self.task == "causal" and "input_ids" in given:
            given.setdefault("labels", given["input_ids"])
        if "labels" not in given:
            raise ValueError(f"A batch has {', '.join(map(str, given))}. Expected labels too.")
        labels, mask = (
            given["labels"],
            given.get("decoder_attention_mask" if self.task == "seq2seq" else "attention_mask"),
        )
        if self.task in ("sequences", "images"):
            return given
        if self.task == "seq2seq" and mask is None and self.padding is not None:
            mask = (labels.flip(-1) != self.padding).int().cummax(-1).values.flip(-1)
        if mask is None or mask.shape != labels.shape:
            return given
        seen = mask != 0
        if self.task == "causal":
            if self.positions is not None and "position_ids" not in given and not seen[:, 0].all():
                before = (seen.cumsum(-1) == 0).sum(-1, keepdim=True)  # the padding at the left
                places = torch.arange(labels.shape[-1], device=labels.device) - before
                given["position_ids"] = places.clamp(min=0) + self.positions
            seen = seen & torch.cat([seen[:, :1], seen[:, :-1]], dim=-1)
        return given | {"labels": labels.masked_fill(~seen, _IGNORED)}

    def _of_examples(self, logits: Tensor, labels: Tensor) -> Terms:
        if logits.ndim != 2:
            raise ValueError(f"The model returned logits of shape {tuple(logits.shape)}. Expected (n, classes).")
        classes = not labels.is_floating_point()
        kind = self.problem_type or (
            "regression" if logits.shape[1] == 1 else f"{'single' if classes else 'multi'}_label_classification"
        )
        if kind == "single_label_classification":
            if labels.numel() != len(logits):
                raise ValueError(
                    f"{len(logits)} examples have labels of shape {tuple(labels.shape)}. Expected one each."
                )
            scores, targets = counted_tokens(logits, labels.reshape(-1), shift=False)
            return _cross_entropy(logits, scores, targets)
        if labels.numel() != logits.numel():
            raise ValueError(f"logits of shape {tuple(logits.shape)} have labels of shape {tuple(labels.shape)}.")
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
        of = functional.mse_loss if kind == "regression" else functional.binary_cross_entropy_with_logits
        losses = of(scores, labels.reshape(scores.shape).to(scores.dtype), reduction="none").mean(1)
        return Terms(losses, len(losses), outputs=logits)


def loss_of(model: nn.Module) -> ModelLoss:
    """The loss of a model of transformers, or of one that wraps such a model, as those of peft do.

    Raises:
        ValueError: there is no such model inside, or its class is for something else than ``TASKS``.
    """
    inner = _pretrained(model)
    task = task_of(type(inner))
    if task is None:
        raise ValueError(no_loss(type(inner).__name__))
    config = inner.config
    takes_positions = "position_ids" in inspect.signature(inner.forward).parameters
    pad, ends = getattr(config, "pad_token_id", None), getattr(config, "eos_token_id", None)
    ends = ends if isinstance(ends, (list, tuple)) else [ends]
    return ModelLoss(
        task,
        getattr(config, "problem_type", None) if task in ("sequences", "images") else None,
        first_position(inner) if task == "causal" and takes_positions else None,
        pad if task == "seq2seq" and pad not in ends else None,
        any(isinstance(m, nn.Embedding) and m.padding_idx is not None for m in inner.modules()),
    )


def objective(model: nn.Module, batches: Iterable[Any], **options: Any) -> Objective:
    """The mean loss of a model of transformers over all counted tokens, or examples, of fixed batches.

    Args:
        model: for causal, masked or sequence-to-sequence language modelling, or a classifier of tokens, sequences or
            images; also inside of a model of peft, whose trainable parameters are then those measured.
        batches: mappings of what the model takes by name (``input_ids``, ``attention_mask``, ``labels``, ...): a list,
            or a ``DataLoader(shuffle=False)`` with a collator.
        options: ``params``, ``device``, ``dtype``, ``mode``, ``microbatch`` of ``Objective``.

    Raises:
        ValueError: as ``Objective`` and ``loss_of``; where the model's own loss of the first batch is another, as
            with a router's auxiliary loss; and where padding at the left changes those of a causal model.

    Cost: as ``Objective``, and four passes over the first batch; some more over a text of it that is padded at the
    left.

    Example:
        >>> import transformers
        >>> config = transformers.GPT2Config(
        ...     vocab_size=5, n_positions=4, n_embd=2, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        ... )
        >>> model = transformers.GPT2LMHeadModel(config)
        >>> mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
        >>> texts = {"input_ids": torch.tensor([[1, 2, 3], [4, 1, 0]]), "attention_mask": mask}
        >>> objective(model, [texts]).num_examples  # tokens that are predicted
        3
    """
    loss = loss_of(model)
    made = Objective(model, loss, batches, **options)
    refuse_another_loss(made)
    _, batch = next(made.batches(whole=True))
    padded = _padded_at_the_left(batch) if loss.task == "causal" else None
    if padded is not None and reads_padding(model, loss, *padded, tolerance=_OTHER):
        raise ValueError(
            f"Padding at the left changes the losses of {type(_pretrained(model)).__name__}. Pad at the right: a "
            "causal model never sees it there."
        )
    return made


def refuse_another_loss(objective: Objective) -> None:
    """Raise ValueError where, here or at other weights, the model's own loss of the first batch is not the mean."""
    loss, model = objective.loss_terms.function, objective.model
    _, batch = next(objective.batches())
    if any(p.is_floating_point() and p.dtype.itemsize < 4 for p in model.parameters()):  # whose rounding would differ
        objective = objective.over([batch], dtype=objective.dtype)
        _, batch = next(objective.batches())

    def both() -> tuple[float, float]:
        terms = objective.loss_terms.of(batch)
        with quiet():
            own = getattr(model(**loss.prepared(lent(batch))), "loss", None)
        return float(terms.losses.mean()), math.nan if own is None else float(own)

    for at in _here_and_there(objective):
        ours, own = objective.with_parameters(objective.leaves(at, requires_grad=False), both)
        if math.isfinite(ours) and math.isfinite(own) and abs(ours - own) > _TOLERANCE * max(abs(ours), abs(own), 1e-2):
            raise ValueError(
                f"The loss of {type(_pretrained(model)).__name__} itself is {own:.6g} for the first batch, and "
                f"{ours:.6g} is the mean over its tokens or examples: it adds something, or counts others. Give a "
                "function loss(model, batch) of your own that returns per-example losses."
            )


def reads_padding(
    model: nn.Module, loss: ModelLoss, padded: Iterable[Any], alone: Iterable[Any], *, tolerance: float = _SAME
) -> bool:
    """Whether, here or at other weights, the losses of padded batches are not those of the same without padding."""
    dtype = max((p.dtype for p in model.parameters()), key=lambda dtype: dtype.itemsize)
    dtype = torch.promote_types(dtype, torch.float32)  # whose rounding is less than the tolerance
    with_it, without = (Objective(model, loss, batches, dtype=dtype) for batches in (padded, alone))

    def same(at: Tensor) -> bool:
        pair = with_it.losses(at), without.losses(at)
        return pair[0].shape == pair[1].shape and torch.allclose(*pair, rtol=tolerance, atol=tolerance)

    return not all(map(same, _here_and_there(without)))


def _padded_at_the_left(batch: Any) -> tuple[list[Any], list[Any]] | None:
    """The text of a batch with most padding at the left, with it and without; None where there is none."""
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return None
    starts = (mask != 0).int().argmax(-1)
    row = starts.argmax()
    if not starts[row]:
        return None
    padded = pick(batch, row.reshape(1))
    cut = {key: v[:, starts[row] :] if v.shape[:2] == (1, mask.shape[1]) else v for key, v in padded.items()}
    return [padded], [cut]


def _here_and_there(objective: Objective) -> tuple[Tensor, Tensor]:
    w = objective.vector()
    noise = torch.randn(len(w), generator=torch.Generator().manual_seed(0), dtype=w.dtype).to(w)
    return w, w + _MOVE * (w.abs() + w.abs().mean()) * noise


class _WholeGradients(TorchFunctionMode):
    """Embeddings without ``padding_idx``, which changes no value, and of gradients only that they are the loss'."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            args, kwargs = (*args[:2], None, *args[3:]), {k: v for k, v in kwargs.items() if k != "padding_idx"}
        return func(*args, **kwargs)


class _Wide(TorchFunctionMode):
    """Scores in float64 stay so in a softmax in float32, where those that are masked would be infinite."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (functional.softmax, torch.softmax, Tensor.softmax) and args[0].dtype is torch.float64:
            kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}
        if func is Tensor.float and args[0].dtype is torch.float64:
            return args[0]
        return func(*args, **kwargs)


def _pretrained(model: nn.Module) -> Any:
    """The model of transformers that it is, or that is first inside."""
    cls = library().PreTrainedModel
    found = next((module for module in model.modules() if isinstance(module, cls)), None)
    if found is None:
        raise ValueError(f"{type(model).__name__} is no model of transformers, nor has one inside.")
    return found


def _cross_entropy(logits: Tensor, scores: Tensor, targets: Tensor) -> Terms:
    losses = functional.cross_entropy(scores, targets, reduction="none")
    return Terms(losses, len(losses), scores.argmax(-1) == targets, logits)

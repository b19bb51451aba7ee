"""Tiny models of transformers with padded batches, and the same texts one by one, without padding, for oracles."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peft
import torch
import transformers
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

VOCAB, LONGEST = 6, 6
_BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_BERT |= {"max_position_embeddings": LONGEST, "type_vocab_size": 1, "pad_token_id": 0}
_LLAMA = {**_BERT, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
_GPT2 = {"vocab_size": VOCAB, "n_positions": LONGEST, "n_embd": 4, "n_inner": 4, "n_layer": 1, "n_head": 2}
_GPT2 |= {"bos_token_id": 1, "eos_token_id": 2}
_VIT = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
_VIT |= {"image_size": 4, "patch_size": 2, "num_channels": 1, "num_labels": 3}
_T5 = {"vocab_size": VOCAB, "d_model": 4, "d_kv": 2, "d_ff": 3, "num_layers": 1, "num_heads": 2}
_T5 |= {"relative_attention_num_buckets": 4, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", _GPT2),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "BERT, masked": ("BertForMaskedLM", "BertConfig", _BERT),
    "BERT, classes": ("BertForSequenceClassification", "BertConfig", {**_BERT, "num_labels": 3}),
    "BERT, tokens": ("BertForTokenClassification", "BertConfig", {**_BERT, "num_labels": 3}),
    "BERT, body": ("BertModel", "BertConfig", {**_BERT, "max_position_embeddings": 16}),
    "ViT": ("ViTForImageClassification", "ViTConfig", _VIT),
    "T5": ("T5ForConditionalGeneration", "T5Config", _T5),
}


@dataclass(frozen=True)
class Case:
    model: nn.Module
    batches: list[dict[str, Tensor]]  # padded
    alone: list[dict[str, Tensor]]  # the same, each without padding
    shift: bool = False


def make(name: str, attention: str = "sdpa") -> Case:
    """The case called ``name``, in float64 and eval mode; "LoRA" is a trained adapter of GPT-2."""
    torch.manual_seed(0)
    base = "GPT-2" if name == "LoRA" else name
    cls, config, said = MODELS[base]
    model = getattr(transformers, cls)(getattr(transformers, config)(**said, attn_implementation=attention))
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    if name == "LoRA":
        how = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, to peft
            model = peft.get_peft_model(model, how)
        for p in model.parameters():
            p.data += 0.3 * torch.randn_like(p) if p.requires_grad else 0
    alone = [example(base, length) for length in (5, 3, 4)]
    batches = [padded(alone[:2]), padded(alone[2:])]
    return Case(model.double().eval(), batches, alone, shift=base in ("GPT-2", "Llama"))


def example(name: str, length: int) -> dict[str, Tensor]:
    """A text of so many tokens, or an image, with its labels."""
    draws = torch.Generator().manual_seed(length)
    if name == "ViT":
        image = torch.randn(1, 1, 4, 4, generator=draws, dtype=torch.float64)
        return {"pixel_values": image, "labels": torch.tensor([length % 3])}
    ids = torch.randint(1, VOCAB, (1, length), generator=draws)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if name == "BERT, classes":
        return {**given, "labels": torch.tensor([length % 3])}
    if name == "BERT, masked":
        masked = torch.rand(ids.shape, generator=draws) < 0.5
        masked[0, 0] = True
        return {**given, "input_ids": ids.masked_fill(masked, 5), "labels": ids.masked_fill(~masked, -100)}
    if name == "BERT, tokens":
        return {**given, "labels": ids % 3}
    return {**given, "labels": torch.randint(1, VOCAB, (1, 7 - length), generator=draws) if name == "T5" else ids}


def padded(rows: list[dict[str, Tensor]], *, left: bool = False) -> dict[str, Tensor]:
    """One batch: labels of padding are -100, its attention is masked."""
    fill = {"labels": -100, "input_ids": 0, "attention_mask": 0}
    columns = {}
    for key in rows[0]:
        parts = [row[key] for row in rows]
        if parts[0].ndim == 2:
            longest = max(part.shape[1] for part in parts)
            room = [longest - part.shape[1] for part in parts]
            sides = [(n, 0) if left else (0, n) for n in room]
            parts = [nn.functional.pad(p, side, value=fill[key]) for p, side in zip(parts, sides, strict=True)]
        columns[key] = torch.cat(parts)
    return columns


def flat_loss(case: Case) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The loss written by hand, text by text and token by token, as a function of the trainable parameters, and those.

    Whatever a model casts to float32 inside stays in float64.
    """
    params = {name: p.detach() for name, p in case.model.named_parameters() if p.requires_grad}
    sizes = [p.numel() for p in params.values()]

    def loss(flat: Tensor) -> Tensor:
        at = {name: piece.view(params[name].shape) for name, piece in zip(params, flat.split(sizes), strict=True)}
        losses = []
        for given in case.alone:
            inputs = {key: value for key, value in given.items() if key != "labels"}
            if "decoder_start_token_id" in case.model.config.to_dict() and case.model.config.is_encoder_decoder:
                start = torch.zeros_like(given["labels"][:, :1])
                inputs["decoder_input_ids"] = torch.cat([start, given["labels"][:, :-1]], 1)
            logits = functional_call(case.model, at, (), inputs).logits[0]
            if logits.ndim == 1:
                losses.append(-logits.log_softmax(0)[given["labels"][0]])
                continue
            for place, label in enumerate(given["labels"][0].tolist()):
                if label != -100 and place >= case.shift:
                    losses.append(-logits[place - case.shift].log_softmax(0)[label])
        return torch.stack(losses).mean()

    return loss, torch.cat([p.reshape(-1) for p in params.values()])


def dense(case: Case) -> tuple[float, Tensor, Tensor]:
    """Loss, gradient (d,) and Hessian (d, d): the latter by central differences of the former."""
    loss, at = flat_loss(case)

    def gradient(w: Tensor) -> Tensor:
        w = w.clone().requires_grad_()
        return torch.autograd.grad(loss(w), w)[0]

    h = 1e-4
    with _Wide(), sdpa_kernel(SDPBackend.MATH):
        rows = [(gradient(at + h * e) - gradient(at - h * e)) / (2 * h) for e in torch.eye(len(at), dtype=at.dtype)]
        H = torch.stack(rows)
        return float(loss(at)), gradient(at), (H + H.T) / 2


class _Wide(TorchFunctionMode):
    """float64 wherever float32 is asked for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wide = [torch.float64 if arg is torch.float32 else arg for arg in args]
        named = {key: torch.float64 if arg is torch.float32 else arg for key, arg in (kwargs or {}).items()}
        return func(*wide, **named)

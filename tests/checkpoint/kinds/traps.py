"""Files whose weights must not be loaded, as the number measured would silently be that of something else."""

import torch
from torch import nn

from .kind import Kind, other, prefixed, saved, seeded, small
from .plain import Tied, WithIntegers, parts, tied, without


def only(change):
    """With another tensor in place of the first layer's weights."""
    return saved(lambda state: dict(state) | {"0.weight": change(state["0.weight"])})


def quantized(value):
    return torch.quantize_per_tensor(value, 0.01, 0, torch.qint8)


def untied(seed: int) -> nn.Module:
    return seeded(Tied(ties=False), seed)


FSDP = "_fsdp_wrapped_module."
NOT_OF_THIS_MODEL = r"does not fit|missing|unexpected|expected"
TRAPS: dict[str, Kind] = {
    "two branches that fit": Kind(
        saved(lambda s: prefixed("encoder.", s) | prefixed("decoder.", parts(3).state_dict())),
        parts,
        unfit=NOT_OF_THIS_MODEL,
    ),
    "a compiled network beside its average": Kind(
        saved(lambda s: {"state_dict": prefixed("net._orig_mod.", s) | prefixed("ema.", other())}),
        unfit="net.*ema|ema.*net",
    ),
    "a student in DataParallel beside its teacher": Kind(
        saved(lambda s: prefixed("student.module.", s) | prefixed("teacher.", other())), unfit="student.*teacher"
    ),
    "a network in FSDP beside its average": Kind(
        saved(
            lambda s: {f"{FSDP}{n.replace('.', f'.{FSDP}', 1)}": v for n, v in s.items()} | prefixed("ema.", other())
        ),
        may_refuse=True,
    ),
    "a network beside its average": Kind(
        saved(lambda s: prefixed("net.", s) | prefixed("ema.", other())), unfit="net.*ema|ema.*net"
    ),
    "with and without a prefix": Kind(saved(lambda s: dict(s) | prefixed("module.", other())), may_refuse=True),
    "ties that are broken": Kind(
        saved(lambda s: dict(s) | {"head.weight": s["head.weight"] + 1}), tied, unfit="head|tied"
    ),
    "a head that is not tied": Kind(saved(without("head.weight")), untied, unfit=r"head\.weight"),
    "a buffer is missing": Kind(saved(without("running_mean")), unfit=r"1\.running_mean"),
    "a weight is missing": Kind(saved(without("3.bias")), unfit=r"3\.bias"),
    "a layer too many": Kind(saved(lambda s: dict(s) | {"4.weight": torch.ones(2)}), unfit=r"4\.weight"),
    "transposed": Kind(only(lambda w: w.t()), unfit=r"\(4, 7\).*\(7, 4\)"),
    "flat": Kind(only(lambda w: w.flatten()), unfit=r"\(28,\).*\(7, 4\)"),
    "would broadcast": Kind(only(lambda w: w[:1]), unfit=r"\(1, 4\).*\(7, 4\)"),
    "int8": Kind(only(lambda w: (100 * w).to(torch.int8)), unfit="int8"),
    "bool": Kind(only(lambda w: w > 0), unfit="bool"),
    "quantized": Kind(only(quantized), unread="quantized|qint8", unfit="quantized|qint8|Quantized"),
    "complex into real": Kind(only(lambda w: w + 1j), unfit="complex"),
    "floats into integers": Kind(
        saved(lambda s: s | {"index": torch.tensor([1.0, 2.0, 3.0])}),
        lambda seed: seeded(WithIntegers(), seed),
        unfit="float32",
    ),
    "float64 into float32": Kind(saved(dict), source=lambda seed: seeded(small(0).double(), seed), said="float64"),
    "float32 into bfloat16": Kind(saved(dict), lambda seed: small(seed).bfloat16(), source=small, said="float32"),
    "beyond the range of float16": Kind(
        saved(lambda s: s | {"0.bias": s["0.bias"] * 1e30}),
        lambda seed: small(seed).half(),
        unfit="0.bias",
        source=small,
    ),
    "int64 into int32": Kind(
        saved(lambda s: s | {"index": torch.tensor([2**40, 1, 2])}),
        lambda seed: seeded(WithIntegers(), seed),
        unfit="index",
    ),
    "sparse": Kind(only(lambda w: w.to_sparse()), unread="sparse", unfit="[Ss]parse"),
    "on meta": Kind(only(lambda w: w.to("meta")), unread="meta", unfit="meta"),
    "a whole module": Kind(
        lambda folder, model: torch.save(model, folder / "m.pt") or folder / "m.pt", unread="state_dict"
    ),
    "a whole module, legacy": Kind(
        lambda folder, model: (
            torch.save(model, folder / "m.pt", _use_new_zipfile_serialization=False) or folder / "m.pt"
        ),
        unread="state_dict",
    ),
    "a whole module under model": Kind(
        lambda folder, model: torch.save({"model": model, "epoch": 3}, folder / "m.pt") or folder / "m.pt",
        unread="state_dict",
    ),
    "TorchScript": Kind(
        lambda folder, model: torch.jit.trace(model, torch.ones(2, 4)).save(folder / "m.pt") or folder / "m.pt",
        unread="TorchScript",
    ),
    "an exported program": Kind(
        lambda folder, model: (
            torch.export.save(torch.export.export(model, (torch.ones(2, 4),)), folder / "m.pt2") or folder / "m.pt2"
        ),
        unread=".",
    ),
    "a list of tensors": Kind(saved(lambda s: list(s.values())), unread="list"),
    "one tensor": Kind(saved(lambda s: s["0.weight"]), unread="Tensor"),
    "nothing": Kind(saved(lambda s: {}), unread="."),
}

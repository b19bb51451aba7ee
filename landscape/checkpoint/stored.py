"""A tensor as its file describes it, before any of its numbers is read: dtype, shape, and where its bytes lie.

What a pickle of torch says of its tensors are calls of a few functions (``torch._utils._rebuild_tensor_v2``, ...).
``KNOWN`` stands in their place when a file is read: it makes descriptions, and runs nothing of torch.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.checkpoint.inert import Global, Inert, name_of


@dataclass(slots=True, eq=False)
class Storage:
    """A run of bytes in a file, which one tensor or several look at.

    Attributes:
        path: the file.
        num_bytes: how many there are.
        offset: where they begin; -1 where they are not there (the meta device).
        member: in which member of an archive they are packed; "" where they lie as they are.
    """

    path: Path
    num_bytes: int
    offset: int = -1
    member: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor in a file.

    Attributes:
        dtype: torch's name of it, "float32".
        shape: as the tensor's.
        storage: where its bytes are.
        offset: of the first entry from the begin of the storage, in entries.
        stride: in entries; None where the entries follow each other.
        kind: "" of a dense tensor; "quantized", "sparse", "shard of (8, 4)", ... of others.
        args: what the tensor of another kind is made of.
        conj: whether its bytes are to be conjugated, and ``neg`` negated.
        neg: see there.
    """

    dtype: str
    shape: tuple[int, ...]
    storage: Storage
    offset: int = 0
    stride: tuple[int, ...] | None = None
    kind: str = ""
    args: tuple[Any, ...] = ()
    conj: bool = False
    neg: bool = False

    @property
    def num_entries(self) -> int:
        """The entries, zeros of sparse tensors among them."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """The bytes that all entries would take."""
        return self.num_entries * itemsize(self.dtype)

    @property
    def is_plain(self) -> bool:
        """Whether its entries follow each other in the file, as they are."""
        return not (self.kind or self.conj or self.neg) and self.stride in (None, contiguous(self.shape))

    def require_there(self) -> None:
        """Raise ValueError where its entries are not all within the bytes of its storage."""
        if self.storage.offset < 0 and not self.storage.member:
            raise ValueError("it has a tensor on meta, without its numbers")
        stride = contiguous(self.shape) if self.stride is None else self.stride
        if len(stride) != len(self.shape) or min((0, self.offset, *self.shape, *stride)) < 0:
            raise ValueError(f"a tensor has shape {self.shape} and strides {stride}")
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, stride, strict=True))
        if self.num_entries and (last + 1) * itemsize(self.dtype) > self.storage.num_bytes:
            raise ValueError("a tensor has more entries than its storage has bytes for")


@dataclass(frozen=True, slots=True, eq=False)
class Typed:
    """A storage seen as entries of one dtype, from some entry on."""

    storage: Storage
    dtype: str
    offset: int = 0


def itemsize(dtype: str) -> int:
    """Bytes an entry; of two entries where those are packed in a byte.

    Example:
        >>> itemsize("bfloat16"), itemsize("complex64"), itemsize("bool"), itemsize("float8_e4m3fn")
        (2, 8, 1, 1)
    """
    bits = re.search(r"\d+", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of entries that follow each other.

    Example:
        >>> contiguous((2, 3, 4))
        (12, 4, 1)
    """
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def find(module: str, name: str) -> Any:
    """What stands for the names of torch that say what a tensor is: dtypes by name, storage classes by their dtype.

    Example:
        >>> find("torch", "float32"), find("torch", "FloatStorage"), find("os", "system")
        ('float32', 'float32', None)
    """
    if module in ("torch", "torch.storage") and name in _STORAGES:
        return _STORAGES[name]
    if module == "torch" and _DTYPE.fullmatch(name):
        return name
    return Global(f"{module}.{name}") if f"{module}.{name}" in _SILENT else None


def _tensor(
    typed: Typed,
    offset: int,
    shape: Iterable[int],
    stride: Iterable[int],
    _requires_grad: bool = False,
    _hooks: Any = None,
    flags: Any = None,
) -> Stored:
    """As ``torch._utils._rebuild_tensor_v2``."""
    shape, stride, flags = _whole(shape), _whole(stride), flags if isinstance(flags, dict) else {}
    (offset,) = _whole([offset])
    return Stored(
        typed.dtype,
        shape,
        typed.storage,
        typed.offset + offset,
        None if stride == contiguous(shape) else stride,
        conj=bool(flags.get("conj")),
        neg=bool(flags.get("neg")),
    )


def _tensor_of_dtype(
    typed: Typed,
    offset: int,
    shape: Iterable[int],
    stride: Iterable[int],
    requires_grad: bool,
    hooks: Any,
    dtype: str,
    flags: Any = None,
) -> Stored:
    """As ``torch._utils._rebuild_tensor_v3``: of dtypes that have no storage class of their own."""
    return _tensor(Typed(typed.storage, name_of(dtype)), offset, shape, stride, requires_grad, hooks, flags)


def _quantized(
    typed: Typed, offset: int, shape: Iterable[int], stride: Iterable[int], quantizer: Any, *_: Any
) -> Stored:
    plain = _tensor(typed, offset, shape, stride)
    args = (typed, plain.offset, plain.shape, plain.stride or contiguous(plain.shape), quantizer)
    return Stored(typed.dtype, plain.shape, typed.storage, plain.offset, plain.stride, "quantized", args)


def _sparse(layout: str, data: tuple[Any, ...]) -> Stored:
    parts = [part for part in data if isinstance(part, Stored)]
    (shape,) = (part for part in data if isinstance(part, tuple))
    return Stored(parts[-1].dtype, _whole(shape), parts[-1].storage, kind="sparse", args=(name_of(layout), *data))


def _subclass(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """As ``torch._tensor._rebuild_from_type_v2``: the tensor that an object of a subclass holds."""
    made = KNOWN[function](*args) if isinstance(function, Global) and function in KNOWN else None
    if isinstance(made, Stored):
        return made
    fields: dict[str, Any] = {}
    for part in state if isinstance(state, tuple) else (state,):
        fields |= part if isinstance(part, dict) else {}
    local = fields.get("_local_tensor")
    if isinstance(local, Stored) and isinstance(made, Meta):  # a DTensor: whole where one process holds all of it
        if made.shape == local.shape:
            return local
        return Stored(local.dtype, made.shape, local.storage, kind=f"shard {local.shape} of {made.shape}")
    return Inert(name_of(kind))


@dataclass(frozen=True, slots=True)
class Meta:
    """A tensor without bytes of its own."""

    dtype: str
    shape: tuple[int, ...]


def _without_bytes(dtype: str, shape: Iterable[int], *_: Any) -> Stored:
    return Stored(name_of(dtype), _whole(shape), Storage(Path(), 0))


def _whole(numbers: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)) or len(numbers) > _AXES:
        raise ValueError("a shape is no tuple of a few numbers")
    if not all(type(n) is int and -(2**63) <= n < 2**63 for n in numbers):
        raise ValueError("a shape has entries that are no whole numbers")
    return tuple(numbers)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_AXES = 64  # as many as torch has
_DTYPE = re.compile(r"(b?float|complex|q?u?int|bits)\d\w*|bool|strided|sparse_\w+|per_\w+_affine\w*|\w+_format")
# classes of tensors that are nothing else
_SILENT = {"torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
_SILENT |= {"torch.storage.TypedStorage"}
_STORAGES = {
    f"{prefix}Storage": dtype
    for prefix, dtype in {
        "Double": "float64",
        "Float": "float32",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
        "ComplexFloat": "complex64",
        "ComplexDouble": "complex128",
        "QInt8": "qint8",
        "QUInt8": "quint8",
        "QInt32": "qint32",
        "QUInt4x2": "quint4x2",
        "Untyped": "uint8",
    }.items()
}
KNOWN: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_bytes,
    "torch._utils._rebuild_wrapper_subclass": lambda _kind, dtype, shape, *_: Meta(name_of(dtype), _whole(shape)),
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch.Size": lambda shape: _whole(shape),
    "torch.device": lambda kind, *_: name_of(kind),
    "torch.serialization._get_layout": name_of,
}

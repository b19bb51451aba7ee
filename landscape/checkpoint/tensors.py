"""The tensors that a file describes, with their numbers: mapped from the file where they lie as they are."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoint.containers import open_embedded
from landscape.checkpoint.stored import Storage, Stored, Typed, contiguous

_ALIGNED = 8  # bytes; storages that begin elsewhere are copied


class Tensors:
    """Makes tensors of descriptions; those that share a storage in their file share it here.

    Example:
        >>> import tempfile
        >>> from landscape.checkpoint.containers import open_container
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"w": torch.ones(2)}, path := Path(folder, "w.pt"))
        ...     Tensors().of(open_container(path).content["w"])
        tensor([1., 1.])
    """

    def __init__(self) -> None:
        self._files: dict[Path, Any] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._seen: list[Storage] = []  # alive as long as their ids are keys

    def of(self, tree: Any) -> Any:
        """Nested dicts, lists and tuples with tensors in place of descriptions.

        Raises:
            ValueError: a description is none of a tensor.
            OSError: a file cannot be read.
        """
        if isinstance(tree, Stored):
            return self._tensor(tree)
        if isinstance(tree, dict):
            return {key: self.of(value) for key, value in tree.items()}
        return type(tree)(map(self.of, tree)) if type(tree) in (list, tuple) else tree

    def _tensor(self, stored: Stored) -> Tensor:
        match stored.kind:
            case "":
                stored.require_there()
                dtype, stride = _dtype(stored.dtype), stored.stride or contiguous(stored.shape)
                tensor = torch.empty(0, dtype=dtype)
                tensor.set_(self._storage(stored.storage), stored.offset, stored.shape, stride)
                tensor = tensor.conj() if stored.conj else tensor
                return torch._neg_view(tensor) if stored.neg else tensor
            case "parts":
                whole = torch.empty(stored.shape, dtype=_dtype(stored.dtype))
                for begin, sizes, path, offset, num_bytes in stored.args:
                    part = Tensors().of(open_embedded(path, offset, num_bytes).content)
                    if not isinstance(part, Tensor) or tuple(part.shape) != sizes or part.dtype != whole.dtype:
                        raise ValueError(f"{path.name} does not hold at {offset} what is said of it")
                    whole[tuple(slice(b, b + s) for b, s in zip(begin, sizes, strict=True))] = part
                return whole
            case "quantized":
                typed, *where, quantizer = stored.args
                rebuild: Any = torch._utils._rebuild_qtensor
                return rebuild(self._typed(typed), *where, self._arguments(quantizer), False, None)
            case "sparse":
                layout, *data = stored.args
                kind = getattr(torch, layout.removeprefix("torch."))
                with torch.sparse.check_sparse_tensor_invariants():
                    made = torch._utils._rebuild_sparse_tensor(kind, tuple(self.of(data)))
                    torch._utils._validate_loaded_sparse_tensors()
                return made
            case "made":
                return stored.args[0]
        raise ValueError(
            f"a tensor is {stored.kind}: save the whole, with full_tensor() or torch.distributed.checkpoint"
        )

    def _arguments(self, quantizer: Any) -> Any:
        kind, *numbers = self.of(quantizer)
        return (getattr(torch, str(kind)), *numbers)

    def _typed(self, typed: Typed) -> torch.TypedStorage:
        return torch.TypedStorage(wrap_storage=self._storage(typed.storage), dtype=_dtype(typed.dtype), _internal=True)

    def _storage(self, storage: Storage) -> torch.UntypedStorage:
        if id(storage) not in self._storages:
            self._seen.append(storage)
            self._storages[id(storage)] = self._read(storage)
        return self._storages[id(storage)]

    def _read(self, storage: Storage) -> torch.UntypedStorage:
        if storage.member:
            with zipfile.ZipFile(storage.path) as archive:
                return _of_bytes(archive.read(storage.member))
        if not storage.num_bytes:
            return torch.UntypedStorage(0)
        size = storage.path.stat().st_size
        if storage.offset + storage.num_bytes > size:
            raise ValueError("the file ends before its numbers do")
        if storage.path not in self._files:
            self._files[storage.path] = torch.UntypedStorage.from_file(str(storage.path), False, size)
        part: Any = self._files[storage.path][storage.offset : storage.offset + storage.num_bytes]
        return part if storage.offset % _ALIGNED == 0 else part.clone()


def _of_bytes(packed: bytes) -> torch.UntypedStorage:
    return (
        torch.frombuffer(bytearray(packed), dtype=torch.uint8).untyped_storage() if packed else torch.UntypedStorage(0)
    )


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype {name} is unknown to torch {torch.__version__}")
    return dtype

"""Folders of ``torch.distributed.checkpoint`` and state dicts of DTensors, written by one process and by two."""

import argparse
import multiprocessing
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .kind import Kind, Weights, small


def write_fsdp(rank: int, num: int, folder: Path, state: Weights) -> None:
    """What one process of FSDP2 writes."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), num), rank=rank, world_size=num)
    try:
        model = small(0)
        model.load_state_dict(state)
        mesh = init_device_mesh("cpu", (num,))
        fully_shard(model[3], mesh=mesh)
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        torch.save(model.state_dict(), folder / f"rank{rank}.pt")
        model_state, optimizer_state = get_state_dict(model, optimizer)
        content = {"model": model_state, "optim": optimizer_state, "step": 7, "args": argparse.Namespace(lr=0.1)}
        dcp.save(content, checkpoint_id=folder / "both")
        dcp.save({"app": {"state": content}}, checkpoint_id=folder / "deep")
        dcp.save(model_state, checkpoint_id=folder / "plain")
    finally:
        dist.destroy_process_group()


_MADE: dict[int, tempfile.TemporaryDirectory[str]] = {}


def fsdp(num: int, name: str) -> Callable[[Path, nn.Module], Path]:
    """One of what these processes write, all of which is made at once."""

    def write(folder: Path, trained: nn.Module) -> Path:
        if num not in _MADE:
            _MADE[num] = tempfile.TemporaryDirectory()
            work = partial(write_fsdp, num=num, folder=Path(_MADE[num].name), state=trained.state_dict())
            context = multiprocessing.get_context("fork")
            processes = [context.Process(target=work, args=(rank,)) for rank in range(num)]
            for process in processes:
                process.start()
            for process in processes:
                process.join(120)
            assert [process.exitcode for process in processes] == [0] * num
        source = Path(_MADE[num].name, name)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
        return folder / name

    return write


def dcp(make: Callable[[Weights], Any]) -> Callable[[Path, nn.Module], Path]:
    def write(folder: Path, trained: nn.Module) -> Path:
        import torch.distributed.checkpoint as checkpoint

        checkpoint.save(make(trained.state_dict()), checkpoint_id=folder / "dcp", no_dist=True)
        return folder / "dcp"

    return write


def in_accelerate(folder: Path, trained: nn.Module) -> Path:
    """As accelerate writes the state of FSDP: the model, the optimizer, and what a loader needs."""
    dcp(lambda s: {"model": s})(folder, trained).rename(folder / "pytorch_model_fsdp_0")
    dcp(lambda s: {"optimizer": s})(folder, trained).rename(folder / "optimizer_0")
    for name in ("scheduler.bin", "sampler.bin", "random_states_0.pkl"):
        torch.save({}, folder / name)
    return folder


def beside_meta(folder: Path, trained: nn.Module) -> Path:
    """As Lightning writes what is sharded: the rest lies in a file beside the shards."""
    path = fsdp(2, "both")(folder, trained)
    torch.save({"epoch": 1, "global_step": 7, "hyper_parameters": argparse.Namespace(lr=0.1)}, path / "meta.pt")
    return path


def damaged(change: Callable[[Any, Path], Any]) -> Callable[[Path, nn.Module], Path]:
    """With other metadata."""

    def write(folder: Path, trained: nn.Module) -> Path:
        path = fsdp(2, "plain")(folder, trained)
        metadata = pickle.loads((path / ".metadata").read_bytes())
        change(metadata, path)
        (path / ".metadata").write_bytes(pickle.dumps(metadata))
        return path

    return write


def forget_chunk(metadata: Any, path: Path) -> None:
    """Half of a tensor lies nowhere: what is there in memory must not be taken for it."""
    tensor = metadata.state_dict_metadata["0.weight"]
    lost = tensor.chunks.pop()
    metadata.storage_data = {
        i: d for i, d in metadata.storage_data.items() if (i.fqn, i.offset) != ("0.weight", lost.offsets)
    }


def forget_storage(metadata: Any, path: Path) -> None:
    metadata.storage_data = {i: d for i, d in metadata.storage_data.items() if i.fqn != "3.bias"}


def each(**changes: Any) -> Callable[[Any, Path], None]:
    """The same claim of where everything lies."""

    def change(metadata: Any, path: Path) -> None:
        metadata.storage_data = {i: replace(d, **changes) for i, d in metadata.storage_data.items()}

    return change


def outside(metadata: Any, path: Path) -> None:
    """All the right numbers, in files above the folder."""
    for file in path.glob("*.distcp"):
        file.rename(path.parent / file.name)
    metadata.storage_data = {
        i: replace(d, relative_path=f"../{d.relative_path}") for i, d in metadata.storage_data.items()
    }


def absolute(metadata: Any, path: Path) -> None:
    metadata.storage_data = {
        i: replace(d, relative_path=str(path / d.relative_path)) for i, d in metadata.storage_data.items()
    }


def giant(metadata: Any, path: Path) -> None:
    tensor = metadata.state_dict_metadata["0.weight"]
    tensor.size = torch.Size([10**6, 10**6])


def giant_whole(metadata: Any, path: Path) -> None:
    """All of it where the first half was."""
    giant(metadata, path)
    tensor = metadata.state_dict_metadata["0.weight"]
    tensor.chunks = [replace(tensor.chunks[0], sizes=tensor.size)]


def overlap(metadata: Any, path: Path) -> None:
    """Both chunks claim the same rows, and nobody the others."""
    chunks = metadata.state_dict_metadata["0.weight"].chunks
    chunks[1] = replace(chunks[1], offsets=torch.Size([0, 0]))


SHARD = r"shard|part|rank|DTensor"
DISTRIBUTED: dict[str, Kind] = {
    "DCP": Kind(dcp(dict), container="distributed", key="", others=()),
    "DCP, nested": Kind(
        dcp(lambda s: {"model": s, "epoch": 3, "args": argparse.Namespace(lr=0.1)}), key="model", others=()
    ),
    "DCP, nested deep": Kind(dcp(lambda s: {"app": {"state": {"net": s}}, "step": 5}), key="app.state.net"),
    "DCP, weights beside an optimizer, as torchtitan has them": Kind(
        dcp(lambda s: s | {"optimizer": {"0.weight.exp_avg": torch.ones(2)}, "train_state": {"step": torch.tensor(3)}}),
        key="",
    ),
    "DCP in a folder of accelerate": Kind(in_accelerate, key="model", slow=True),
    "DCP, generator asked for": Kind(
        dcp(lambda s: {"g": dict(s), "d": {n: v + 1 for n, v in s.items()}}), ask="g", key="g", others=("d",)
    ),
    "DCP, generator and discriminator": Kind(
        dcp(lambda s: {"g": dict(s), "d": {n: v + 1 for n, v in s.items()}}), unread=r"\bg\b.*\bd\b|\bd\b.*\bg\b"
    ),
    "DCP, prefixed": Kind(dcp(lambda s: {"model": {f"module.{n}": v for n, v in s.items()}}), key="model"),
    "DCP, bfloat16": Kind(dcp(dict), lambda seed: small(seed).bfloat16()),
    **{f"FSDP2 of {n}, plain": Kind(fsdp(n, "plain"), container="distributed", key="", slow=True) for n in (1, 2)},
    **{f"FSDP2 of {n}, with optimizer": Kind(fsdp(n, "both"), key="model", others=(), slow=True) for n in (1, 2)},
    "FSDP2 of 2, deep down": Kind(fsdp(2, "deep"), key="app.state.model", others=(), slow=True),
    "FSDP2 of 2, with meta.pt": Kind(beside_meta, key="model", slow=True),
    "DTensors of one process": Kind(fsdp(1, "rank0.pt"), key="", slow=True),
    "DTensors of one process of two": Kind(fsdp(2, "rank0.pt"), unread=SHARD, unfit=SHARD, slow=True),
    "DTensors of the other of two": Kind(fsdp(2, "rank1.pt"), unread=SHARD, unfit=SHARD, slow=True),
    "DCP, a chunk is lost": Kind(damaged(forget_chunk), unread=r"0\.weight", unfit=r"0\.weight", slow=True),
    "DCP, a place is lost": Kind(damaged(forget_storage), unread=r"3\.bias", unfit=r"3\.bias", slow=True),
    "DCP, chunks overlap": Kind(damaged(overlap), unread=r"0\.weight", unfit=r"0\.weight", slow=True),
    "DCP, of 10^12 entries": Kind(damaged(giant), unread=".", slow=True),
    "DCP, of 10^12 entries in one": Kind(damaged(giant_whole), unread=".", slow=True),
    "DCP, above the folder": Kind(damaged(outside), unread=r"\.\.", slow=True),
    "DCP, an absolute path": Kind(damaged(absolute), unread=".", slow=True),
    "DCP, beyond the end": Kind(damaged(each(offset=10**9)), unread=".", slow=True),
    "DCP, of a giant length": Kind(damaged(each(length=2**62)), unread=".", slow=True),
    "DCP, of no length": Kind(damaged(each(length=-1)), unread=".", slow=True),
    "DCP, a file is lost": Kind(
        damaged(lambda metadata, path: (path / "__1_0.distcp").unlink()), unread="__1_0", slow=True
    ),
}

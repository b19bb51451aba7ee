"""State dicts as people save them: in every container, under every key, with every prefix, of every layout."""

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .kind import Kind, Weights, other, prefixed, saved, seeded, small, under

WRAPPERS = "state_dict", "model", "model_state_dict", "net", "network", "params", "weights", "model_state", "module"
WRAPPERS += "ema", "ema_model", "model_ema", "state_dict_ema", "anything", "state.model", "checkpoint.state.network"
RAW_AND_EMA = {
    "state_dict": "state_dict_ema",  # timm
    "model": "ema",
    "net": "ema_model",
    "model_state_dict": "model_ema",
    "params": "params_ema",  # BasicSR
    "module": "ema.shadow",
    "weights": "averaged.model",
}
PREFIXES = "module.", "_orig_mod.", "_forward_module.", "net.", "model.", "backbone.", "a.name.of.the.users.own."
PREFIXES += "_orig_mod.module.", "module._orig_mod.", "_forward_module.model._orig_mod.", "model.module.net."
PREFIXES += "_fsdp_wrapped_module.", "module.module.", "model.model."


def same(state: Weights) -> Weights:
    return state


def of_safetensors(state: Weights, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path, metadata={"format": "pt"})
    return path


def written_as(name: str, write: Callable[[Weights, Path], Any]) -> Callable[[Path, nn.Module], Path]:
    def into(folder: Path, trained: nn.Module) -> Path:
        write(trained.state_dict(), folder / name)
        return folder / name

    return into


def view_of_one(state: Weights) -> Weights:
    """All parameters as views of one vector, as optimizers with flat parameters keep them."""
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    flat = torch.cat([value.flatten() for value in floats.values()])
    parts = flat.split([value.numel() for value in floats.values()])
    views = {name: part.view(value.shape) for part, (name, value) in zip(parts, floats.items(), strict=True)}
    return dict(state) | views


def strided(state: Weights) -> Weights:
    """Transposed, cut out of something larger, or every second of its entries."""

    def odd(value: Tensor) -> Tensor:
        if value.ndim == 2:
            return value.t().contiguous().t()
        return torch.stack([value, -value], -1).flatten()[::2] if value.ndim else value

    return {name: odd(value) for name, value in state.items()}


def tagged(location: str) -> Callable[[Path, nn.Module], Path]:
    """As it was saved on another device: the numbers are the same, and the file names the device."""

    def write(folder: Path, trained: nn.Module) -> Path:
        with mock.patch("torch.serialization.location_tag", return_value=location):
            torch.save(trained.state_dict(), folder / "w.pt")
        return folder / "w.pt"

    return write


def averaged(decay: float | None) -> Callable[[Path, nn.Module], Path]:
    def write(folder: Path, trained: nn.Module) -> Path:
        average = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(decay) if decay else None, use_buffers=True)
        average.update_parameters(trained)
        torch.save(average.state_dict(), folder / "average.pt")
        return folder / "average.pt"

    return write


def with_optimizer(key: str, options: dict[str, Any] | None = None) -> Callable[[Path, nn.Module], Path]:
    """All that a training script saves to go on."""

    def write(folder: Path, trained: nn.Module) -> Path:
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
        trained(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        schedule.step()
        content = {"epoch": 3, key: trained.state_dict(), "optimizer": optimizer.state_dict()}
        content |= {"scheduler": schedule.state_dict(), "scaler": {"scale": 65536.0, "_growth_tracker": 0}}
        content |= {"rng": {"torch": torch.get_rng_state()}, "metrics": {"loss": torch.tensor(0.5)}}
        torch.save(content, folder / "checkpoint.pth", **(options or {}))
        return folder / "checkpoint.pth"

    return write


class Tied(nn.Module):
    """An embedding whose weights are those of the head as well."""

    def __init__(self, ties: bool = True) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        if ties:
            self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(3, 3).tril(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


def tied(seed: int) -> nn.Module:
    return seeded(Tied(), seed)


def parts(seed: int) -> nn.Module:
    return seeded(nn.Linear(4, 3), seed)


class Around(nn.Module):
    """The user's own class around a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)


def without(*ends: str) -> Callable[[Weights], Weights]:
    return lambda state: {name: value for name, value in state.items() if not name.endswith(ends)}


def of_dtype(dtype: torch.dtype) -> Callable[[int], nn.Module]:
    """Whose numbers, all of them, can be told in 8 bits, so that casting them to and fro changes nothing."""

    def make(seed: int) -> nn.Module:
        model = small(seed)
        model.load_state_dict({name: value.to(torch.float8_e4m3fn) for name, value in model.state_dict().items()})
        return model.to(torch.float32 if dtype == torch.float8_e4m3fn else dtype)

    return make


def cast(dtype: torch.dtype) -> Callable[[Weights], Weights]:
    return lambda state: {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()
    }


class WithIntegers(nn.Module):
    """With a buffer of numbers that are no floats."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("index", torch.zeros(3, dtype=torch.int32))
        self.register_buffer("flags", torch.zeros(3, dtype=torch.bool))


CONTAINERS = {
    "torch zip": Kind(saved(same), container="torch zip", key="", others=()),
    "torch zip, pickle protocol 4": Kind(saved(same, pickle_protocol=4), container="torch zip", key=""),
    "torch zip, pickle protocol 5": Kind(saved(same, pickle_protocol=5), container="torch zip", key=""),
    "torch legacy": Kind(saved(same, _use_new_zipfile_serialization=False), container="torch legacy", key=""),
    "torch legacy, pickle protocol 4": Kind(
        saved(same, pickle_protocol=4, _use_new_zipfile_serialization=False), key=""
    ),
    "safetensors": Kind(written_as("w.safetensors", of_safetensors), container="safetensors", key="", others=()),
    "safetensors called .bin": Kind(written_as("pytorch_model.bin", of_safetensors), container="safetensors"),
    "torch zip called .safetensors": Kind(saved(same, "w.safetensors"), container="torch zip"),
    "torch legacy called .ckpt": Kind(saved(same, "w.ckpt", _use_new_zipfile_serialization=False)),
    "without an ending": Kind(saved(same, "weights"), container="torch zip"),
    "with blanks and letters of a language": Kind(saved(same, "mes poids à moi.pt")),
    "pickle of tensors": Kind(written_as("w.pkl", lambda s, path: path.write_bytes(pickle.dumps(s))), may_refuse=True),
    "of parameters": Kind(saved(lambda state: {n: nn.Parameter(v, v.is_floating_point()) for n, v in state.items()})),
    "OrderedDict": Kind(saved(lambda state: OrderedDict(state))),
    "with an extra state": Kind(saved(lambda state: state | {"_extra_state": {"any": "thing"}}), may_refuse=True),
    "views of one storage": Kind(saved(view_of_one)),
    "strided": Kind(saved(strided)),
    "strided, legacy": Kind(saved(strided, _use_new_zipfile_serialization=False)),
    **{f"saved on {device}": Kind(tagged(device)) for device in ("cuda:0", "cuda:7", "mps", "xla:0", "npu:3")},
}

KEYS = {
    **{f"under {key}": Kind(saved(under(*key.split("."), epoch=3, acc=93.5)), key=key, others=()) for key in WRAPPERS},
    **{
        f"{raw} beside {ema}": Kind(
            saved(lambda state, raw=raw, ema=ema: {raw: state} | under(*ema.split("."))(other())),
            key=raw,
            others=(ema,),
        )
        for raw, ema in RAW_AND_EMA.items()
    },
    **{
        f"{ema} beside {raw}, asked for": Kind(
            saved(lambda state, raw=raw, ema=ema: {raw: other()} | under(*ema.split("."))(state)),
            ask=ema,
            key=ema,
            others=(raw,),
        )
        for raw, ema in RAW_AND_EMA.items()
    },
    "generator, asked for": Kind(
        saved(lambda state: {"generator": state, "discriminator": other()}),
        ask="generator",
        key="generator",
        others=("discriminator",),
    ),
    "generator and discriminator": Kind(
        saved(lambda state: {"generator": state, "discriminator": other()}),
        unread="generator.*discriminator.*--key",
    ),
    "generator deep down, asked for": Kind(
        saved(lambda state: {"g": {"state_dict": state, "epoch": 1}, "d": {"state_dict": other(), "epoch": 1}}),
        ask="g.state_dict",
        key="g.state_dict",
        others=("d.state_dict",),
    ),
    "a key that is not there": Kind(saved(under("model")), ask="generator", unread="generator"),
    "a key of no weights": Kind(saved(under("model", epoch=3)), ask="epoch", unread="epoch"),
    "statistics of the data beside": Kind(
        saved(under("model", normalizer={"mean": torch.ones(4), "std": torch.ones(4)})), key="model"
    ),
    "losses beside an unusual key": Kind(saved(under("my_net", losses={"l1": torch.tensor(0.5)})), key="my_net"),
    "an epoch among the weights": Kind(saved(lambda s: s | {"epoch": 3, "acc": None}), key="", others=()),
    "settings among the weights": Kind(
        saved(lambda s: s | {"args": argparse.Namespace(lr=0.1)}), key="", left_out=("argparse.Namespace",)
    ),
    "a version among the weights, under model": Kind(saved(lambda s: {"model": s | {"version": 3}}), key="model"),
    "an optimizer among the weights": Kind(
        saved(lambda s: s | {"optimizer": {"0.weight": torch.ones(2)}, "train_state": {"step": torch.tensor(3)}}),
        key="",
    ),
    "numbers beside the weights": Kind(
        saved(under("model", mean=torch.ones(4), std=torch.ones(4), best=torch.tensor(1.0))), key="model"
    ),
    "a version among few weights, beside an average": Kind(
        saved(lambda s: {"ema": dict(nn.Linear(2, 1).state_dict()), "model": s | {"version": 3}}),
        lambda seed: seeded(nn.Linear(2, 1), seed),
        key="model",
        others=("ema",),
    ),
    "an average among the weights": Kind(saved(lambda s: s | {"ema": other()}), key="", others=("ema",)),
    "an optimizer by names, of another key": Kind(
        saved(under("net", opt={"state": {"0.weight": {"exp_avg": torch.ones(2)}}, "param_groups": []})),
        key="net",
        others=(),
    ),
    "EMA as Lightning has it": Kind(
        saved(
            lambda s: {
                "state_dict": prefixed("net.", other()),
                "current_model_state": prefixed("net.", s),
                "averaging_state": {"n_averaged": torch.tensor(3)},
            }
        ),
        key="current_model_state",
        others=("state_dict",),
    ),
    "eight deep": Kind(saved(under(*"abcdefgh")), key="a.b.c.d.e.f.g.h"),
    "in a list, asked for": Kind(saved(lambda s: {"nets": [other(), s]}), ask="nets.1", key="nets.1"),
    "by fold, asked for": Kind(saved(lambda s: {"folds": {0: other(), 1: s}}), ask="folds.1", key="folds.1"),
    "with an optimizer": Kind(with_optimizer("model"), key="model"),
    "with an optimizer, legacy": Kind(with_optimizer("net", {"_use_new_zipfile_serialization": False}), key="net"),
    "of a model that is called optimizer": Kind(saved(under("optimizer")), may_refuse=True),
    "an optimizer alone": Kind(
        saved(lambda state: {"optimizer": torch.optim.SGD([torch.ones(1)], 0.1).state_dict(), "epoch": 3}),
        unread="no state dict|no weights",
    ),
    "a tuple of weights and an epoch": Kind(saved(lambda state: (state, 3)), may_refuse=True),
    "SWA": Kind(averaged(None)),
    "EMA of torch": Kind(averaged(0.5)),
    "SWA into one": Kind(averaged(None), lambda seed: seeded(AveragedModel(small(0)), seed), may_refuse=True),
    "EMA as a list": Kind(
        saved(lambda state: {"model": state, "ema": {"decay": 0.9, "shadow_params": list(other().values())}}),
        key="model",
    ),
    "EMA by flat names, of latent diffusion": Kind(
        saved(
            lambda state: {
                "state_dict": prefixed("model.", state)
                | {f"model_ema.{name.replace('.', '')}": value for name, value in other().items()}
                | {"model_ema.decay": torch.tensor(0.9), "model_ema.num_updates": torch.tensor(3)}
            }
        ),
        may_refuse=True,
    ),
    "EMA and online network in one": Kind(
        saved(
            lambda state: prefixed("online_model.", state) | prefixed("ema_model.", other()) | {"step": torch.tensor(3)}
        ),
        may_refuse=True,
    ),
}

NAMES = {
    **{f"prefix {prefix}": Kind(saved(lambda s, p=prefix: prefixed(p, s))) for prefix in PREFIXES},
    **{
        f"prefix {prefix} under state_dict": Kind(saved(lambda s, p=prefix: {"state_dict": prefixed(p, s)}))
        for prefix in PREFIXES[::3]
    },
    "prefix module. in safetensors": Kind(
        written_as("w.safetensors", lambda s, p: of_safetensors(prefixed("module.", s), p))
    ),
    "a compiled layer": Kind(saved(lambda s: {n.replace("3.", "3._orig_mod."): v for n, v in s.items()})),
    "a compiled layer of a network": Kind(
        saved(lambda s: {f"net.{n.replace('0.', '0._orig_mod.')}": v for n, v in s.items()})
    ),
    "checkpointed layers": Kind(
        saved(lambda s: {n.replace(".", "._checkpoint_wrapped_module.", 1): v for n, v in s.items()})
    ),
    "into DataParallel": Kind(saved(same), lambda seed: nn.DataParallel(small(seed))),
    "into a compiled model": Kind(saved(same), lambda seed: torch.compile(small(seed))),
    "into a class of the user's": Kind(saved(same), lambda seed: Around(small(seed))),
    "of a class into the network": Kind(saved(lambda s: prefixed("network.", s))),
    "of a class into another class": Kind(
        saved(lambda s: {n.replace("network.", "net.model."): v for n, v in s.items()}),
        lambda seed: Around(small(seed)),
    ),
    "of DataParallel into a compiled model": Kind(
        saved(lambda s: {n.replace("_orig_mod.", "module."): v for n, v in s.items()}),
        lambda seed: torch.compile(small(seed)),
    ),
    "a layer that is called model": Kind(
        saved(same), lambda seed: seeded(nn.ModuleDict({"model": nn.Linear(2, 1)}), seed)
    ),
    "a network beside a network": Kind(
        saved(same), lambda seed: seeded(nn.ModuleDict({"model": nn.Linear(2, 1), "module": nn.Linear(2, 1)}), seed)
    ),
    "a loss with weights beside": Kind(
        saved(lambda s: {"state_dict": prefixed("net.", s) | {"criterion.weight": torch.ones(3)}}), may_refuse=True
    ),
    "a compiled network, beside its average, asked for": Kind(
        saved(lambda s: {"state_dict": prefixed("net._orig_mod.", s) | prefixed("ema.", other())}),
        ask="state_dict.net",
        key="state_dict.net",
    ),
    **{
        f"MoCo, asked for {key}": Kind(
            saved(lambda s: {"state_dict": prefixed("module.encoder_q.", s) | prefixed("module.encoder_k.", other())}),
            ask=key,
            key=key,
        )
        for key in ("encoder_q", "state_dict.encoder_q", "state_dict.module.encoder_q")
    },
    "MoCo": Kind(
        saved(lambda s: prefixed("module.encoder_q.", s) | prefixed("module.encoder_k.", other())),
        unfit="encoder_q.*--key",
    ),
    "a GAN of Lightning, asked for": Kind(
        saved(lambda s: {"state_dict": prefixed("generator.", s) | prefixed("discriminator.", other())}),
        ask="state_dict.generator",
        may_refuse=True,
    ),
}

LEFT_OUT_BY_WRITERS = {
    "tied, torch": Kind(saved(same), tied),
    "tied, save_model": Kind(
        lambda folder, trained: save_model(trained, folder / "w.safetensors") or folder / "w.safetensors", tied
    ),
    **{f"tied, without {name}": Kind(saved(without(name)), tied) for name in ("embedding.weight", "head.weight")},
    "tied, of a class": Kind(saved(lambda s: prefixed("module.", without("head.weight")(s))), tied),
    "a buffer that used to be saved": Kind(saved(lambda s: dict(s) | {"mask": torch.ones(3, 3).tril()}), tied),
    "no num_batches_tracked": Kind(saved(without("num_batches_tracked")), apart=("num_batches_tracked",)),
    "no num_batches_tracked, prefixed": Kind(
        saved(lambda s: prefixed("module.", without("num_batches_tracked")(s))), apart=("num_batches_tracked",)
    ),
}

NUMBERS = {
    "bfloat16": Kind(saved(same), of_dtype(torch.bfloat16)),
    "bfloat16 in safetensors": Kind(written_as("w.safetensors", of_safetensors), of_dtype(torch.bfloat16)),
    "float64": Kind(saved(same), of_dtype(torch.float64)),
    "bfloat16 into float32": Kind(saved(cast(torch.bfloat16)), of_dtype(torch.float32)),
    "float32 into float64": Kind(saved(cast(torch.float32)), of_dtype(torch.float64)),
    "bfloat16 into float16": Kind(saved(cast(torch.bfloat16)), of_dtype(torch.float16)),
    "float8 into float32": Kind(saved(cast(torch.float8_e4m3fn)), of_dtype(torch.float8_e4m3fn), may_refuse=True),
    "empty and 0-dimensional": Kind(
        saved(same), lambda seed: seeded(nn.ParameterDict({"t": torch.ones(()), "none": torch.ones(0, 3)}), seed)
    ),
    "complex": Kind(
        saved(same),
        lambda seed: nn.ParameterDict({"w": torch.rand(3, generator=torch.Generator().manual_seed(seed)) + 2j}),
    ),
    "conjugated": Kind(
        saved(lambda s: {"w": s["w"].conj().resolve_conj().conj()}),
        lambda seed: nn.ParameterDict({"w": torch.rand(3, generator=torch.Generator().manual_seed(seed)) + 2j}),
    ),
    "integers": Kind(saved(same), lambda seed: seeded(WithIntegers(), seed)),
}

PLAIN: dict[str, Kind] = CONTAINERS | KEYS | NAMES | LEFT_OUT_BY_WRITERS | NUMBERS

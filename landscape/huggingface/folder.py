"""A folder that ``save_pretrained``, a Trainer or peft wrote, as a model with its weights, a loss and data.

The architecture that config.json names decides the class, and transformers' own loading the names of the weights. What
it would make up or leave out is refused: a head without weights, another shape, a number that would be rounded, layers
that the configuration does not have. Whole modules that the class does not have (BERT's pooler, the head of another
task) are not used, and that is said. No code in the folder is run.
"""

import copy
import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from landscape.checkpoint.building import no_larger_than
from landscape.content import digest
from landscape.data.examples import Examples
from landscape.fingerprint import Fingerprint
from landscape.huggingface.data import examples_of
from landscape.huggingface.library import classes_of, library, no_loss, quiet, task_of
from landscape.huggingface.loss import loss_of, reads_padding, refuse_another_loss
from landscape.objective import Objective
from landscape.text import first_few, reason_of

_OWN = "Give --problem FILE.py:FUNCTION, which builds the model."
_ADAPTED = {"CAUSAL_LM": "causal", "SEQ_CLS": "sequences", "TOKEN_CLS": "tokens", "SEQ_2_SEQ_LM": "seq2seq"}
_SAYS_NOTHING = ("transformers_version", "dtype", "torch_dtype", "architectures", "use_cache")  # of the function


def problem(
    checkpoint: Checkpoint, data: str | None, context: int | None = None
) -> tuple[nn.Module, Any, dict[str, Any], Fingerprint]:
    """The model of a folder with its weights, its loss, data by split, and what is known of their origin.

    Args:
        checkpoint: of a folder of transformers or peft.
        data: "text:FILE", "lines:FILE", "csv:FILE", "images:FOLDER" or "parquet:PATH" (``landscape.huggingface.data``).
        context: tokens a block; by default what the model takes, up to 1024.

    Raises:
        CheckpointError: the model cannot be built, or the weights are not all of it.
        DataError: data that are not there, or not for this model; a tokenizer that is not there.
        ValueError: the model's loss is no mean over tokens or examples, by its numbers.
    """
    try:
        return _problem(checkpoint, data, context)
    except (ValueError, OSError, ArithmeticError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever files that make no sense lead to
        raise CheckpointError(
            f"{checkpoint.path}: what config.json or the tokenizer says makes no sense: {reason_of(error)[:300]}. "
            "Expected them as save_pretrained writes them."
        ) from error


def load_into(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Load the weights of another folder of the same kind into a model of ``problem``. Errors as there."""
    model.load_state_dict(_model_of(checkpoint)[0].state_dict())


def under_own_names(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Any] | None:
    """The weights under the names of a model of transformers or peft, which change from version to version.

    Those of an adapter come with those of its base.

    Returns:
        the state dict; None where the model is of another library.

    Raises:
        CheckpointError: they are not the model's; the base of an adapter is not here.
    """
    transformers, peft = sys.modules.get("transformers"), sys.modules.get("peft")
    if peft is not None and isinstance(model, peft.PeftModel) and checkpoint.adapter is not None:
        return dict(_adapted(checkpoint)[0].state_dict())
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        return dict(_filled(checkpoint, type(model), copy.deepcopy(model.config), {}).state_dict())
    return None


def _problem(
    checkpoint: Checkpoint, data: str | None, context: int | None
) -> tuple[nn.Module, Any, dict[str, Any], Fingerprint]:
    model, base = _model_of(checkpoint)
    inner = model if base is None else model.get_base_model()
    if data is None:
        raise CheckpointError(
            f"{checkpoint.path}: is a {type(inner).__name__}, and does not say of which data. Give --data text:FILE "
            "for a language model, csv:FILE for sequences with labels, images:FOLDER or parquet:PATH for images."
        )
    loss = loss_of(model)
    folders = [Path(one.path) for one in (checkpoint, base) if one is not None]
    splits, spec = examples_of(data, folders=folders, model=inner, loss=loss, context=context)
    for split in splits.values():
        refuse_another_loss(Objective(model, loss, [split.batches(1)[0]]))
    for name, split in splits.items():
        pair = split.extremes() if isinstance(split, Examples) and not split.alone else None
        if pair is not None and reads_padding(model, loss, pair.batches(2), pair.batches(1)):
            kind = type(inner).__name__
            warnings.warn(f"Padding changes the losses of {kind}: each text is measured alone.", stacklevel=2)
            splits[name] = replace(split, alone=True)
    return model, loss, splits, {"model": _made_of(inner, checkpoint.adapter, base), "data_spec": spec}


def _model_of(checkpoint: Checkpoint) -> tuple[Any, Checkpoint | None]:
    """The model in eval mode, and the base that it adapts, if it is an adapter."""
    return (_built(checkpoint), None) if checkpoint.adapter is None else _adapted(checkpoint)


def _built(checkpoint: Checkpoint, *, task: str | None = None, given: Mapping[str, Tensor] | None = None) -> Any:
    """The model of a folder; where asked, of the class for a task, whose own part an adapter gives later."""
    later = given or {}
    return _filled(checkpoint, *_class_of(checkpoint, task, later), later)


def _filled(checkpoint: Checkpoint, cls: Any, config: Any, later: Mapping[str, Tensor]) -> Any:
    """A model of the class with the weights under the names that transformers gives them now, and nothing made up."""
    path, state = checkpoint.path, checkpoint.state["model"]
    floating = [value.dtype for value in state.values() if isinstance(value, Tensor) and value.is_floating_point()]
    try:
        with quiet(), no_larger_than({**state, **later}), torch.random.fork_rng(devices=[]):
            model, found = cls.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=reduce(torch.promote_types, floating) if floating else torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # whatever transformers and torch say of a configuration that makes no sense
        raise CheckpointError(
            f"{path}: describes a {cls.__name__} that cannot be built: {reason_of(error)[:300]}."
        ) from error
    unused = sorted(found["unexpected_keys"])
    differences = {
        "missing: ": [
            name for name in sorted(found["missing_keys"]) if not any(key.endswith(f".{name}") for key in later)
        ],
        "of another shape: ": [
            f"{name} is {tuple(there)}, expected {tuple(here)}"
            for name, there, here in sorted(found["mismatched_keys"])
        ],
        "unexpected: ": [name for name in unused if not _is_of_a_module_left_out(name, model)],
        "no floating numbers: ": [
            f"{name} is {state[name].dtype}"
            for name, value in model.state_dict().items()
            if name in state and value.is_floating_point() and not state[name].is_floating_point()
        ],
        "": list(found["error_msgs"]),
    }
    if any(differences.values()):
        listed = "; ".join(kind + first_few(names) for kind, names in differences.items() if names)
        raise CheckpointError(
            f"{path}: its weights are not those of the {cls.__name__} that config.json describes: {listed}. Expected "
            "all of them, as save_pretrained writes them: nothing is made up."
        )
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # which may lie in the file still
    if unused:
        warnings.warn(f"{path}: {cls.__name__} does not use {first_few(unused)}.", stacklevel=2)
    return model.eval()


def _class_of(checkpoint: Checkpoint, task: str | None, later: Mapping[str, Tensor]) -> tuple[Any, Any]:
    """The class that config.json names, or that of its kind for a task, and the configuration."""
    transformers, path = library(), checkpoint.path
    said = {key: value for key, value in (checkpoint.config or {}).items() if not key.endswith("attn_implementation")}
    if said.get("auto_map"):
        raise CheckpointError(
            f"{path}: needs code of its own (auto_map in config.json), which is not run. {_OWN} Where the class of "
            "transformers is meant, remove auto_map."
        )
    if said.get("quantization_config"):
        method = (
            said["quantization_config"].get("quant_method", "") if isinstance(said["quantization_config"], dict) else ""
        )
        raise CheckpointError(
            f"{path}: its weights are quantized{f' ({method})' if method else ''}, and have no derivatives. "
            "Expected the model that was quantized."
        )
    names, kind = said.get("architectures") or [], said.get("model_type")
    if not (isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)) or not isinstance(kind, str):
        raise CheckpointError(f"{path}: config.json does not name its model_type and one of architectures. {_OWN}")
    cls: Any = getattr(transformers, names[0], None)
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    if kind not in known or not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise CheckpointError(
            f"{path}: is a {names[0]} ({kind}), which transformers {transformers.__version__} does not have. {_OWN}"
        )
    if task is not None and task_of(cls) != task:
        found = classes_of(task).get(kind, ())
        if not found:
            raise CheckpointError(f"{path}: transformers has no class of {kind} for the adapter's task. {_OWN}")
        cls = getattr(transformers, found[0], cls)
        heads = [len(value) for name, value in later.items() if name.endswith((".classifier.weight", ".score.weight"))]
        if heads:
            said = {key: value for key, value in said.items() if key not in ("id2label", "label2id")}
            said["num_labels"] = heads[0]
    if task_of(cls) is None:
        raise CheckpointError(f"{path}: {no_loss(names[0])}")
    try:
        config = cls.config_class.from_dict(json.loads(json.dumps(said), object_hook=_special_float))
    except Exception as error:
        raise CheckpointError(f"{path}: config.json makes no sense: {reason_of(error)[:300]}. {_OWN}") from error
    config._experts_implementation = "eager"  # grouped kernels are not for float64
    config.use_cache = False  # some write to it in place, which has no gradient
    config.return_dict = True
    return cls, config


def _special_float(said: dict[str, Any]) -> Any:
    """Infinity and nan as transformers writes them in JSON."""
    return float(said["__float__"]) if said.keys() == {"__float__"} else said


def _adapted(checkpoint: Checkpoint) -> tuple[nn.Module, Checkpoint]:
    """The base that an adapter names with the adapter, whose parameters are those that are trained; and the base."""
    peft, path, said = library("peft"), Path(checkpoint.path), checkpoint.adapter or {}
    named = str(said.get("base_model_name_or_path") or "")
    base = next((place for place in (Path(named), path / named) if named and place.is_dir()), None)
    if base is None:
        raise CheckpointError(
            f"{path}: is an adapter of {named or 'a base that it does not name'}, which is no folder here. Set "
            "base_model_name_or_path in adapter_config.json to the folder of the base."
        )
    state = checkpoint.state["model"]
    adapted = load_checkpoint(base)
    inner = _built(adapted, task=_ADAPTED.get(str(said.get("task_type"))), given=state)
    try:
        config = peft.PeftConfig.from_pretrained(str(path))
        config.inference_mode = config.is_prompt_learning  # whose embeddings are saved, and not what makes them
        with quiet(), no_larger_than({**inner.state_dict(), **state}), torch.random.fork_rng(devices=[]):
            model = peft.get_peft_model(inner, config)
            left = peft.set_peft_model_state_dict(model, dict(state)).unexpected_keys
            own = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
            for name, p in model.named_parameters():
                if ".modules_to_save." in name:
                    p.requires_grad_(True)
    except Exception as error:
        raise CheckpointError(f"{path}: is an adapter that does not fit {base}: {reason_of(error)[:300]}.") from error
    differences = {"missing: ": sorted(own.keys() - state.keys()), "unexpected: ": sorted(set(left) - own.keys())}
    if any(differences.values()):
        listed = "; ".join(kind + first_few(names) for kind, names in differences.items() if names)
        raise CheckpointError(f"{path}: its weights are not those that adapter_config.json describes: {listed}.")
    return model.eval(), adapted


def _is_of_a_module_left_out(name: str, model: nn.Module) -> bool:
    """Whether an unexpected weight is of a whole module beside or next to the model's body: a pooler, another head."""
    at: Any = model
    for depth, key in enumerate(name.split(".")[:-1]):
        inner = dict(at.named_children()).get(key)
        if inner is None:
            return depth < 2 and not key.isdigit()
        at = inner
    return False


def _made_of(model: Any, adapter: dict[str, Any] | None, base: Checkpoint | None) -> Fingerprint:
    config = {
        key: value
        for key, value in model.config.to_dict().items()
        if not key.startswith("_") and key not in _SAYS_NOTHING
    }
    told = {"name": type(model).__name__, "config": digest(config)}
    if base is None:
        return told
    own = {key: value for key, value in (adapter or {}).items() if key != "base_model_name_or_path"}
    return told | {"adapter": digest(own), "base": base.sha256}

"""What transformers, its Trainer, Lightning, accelerate and PEFT write, made with them."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .kind import Kind, data, other, seeded, small

Write = Callable[[Path, nn.Module], Path]


def gpt2(seed: int = 0, **changes: Any) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 17, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return seeded(GPT2LMHeadModel(GPT2Config(**sizes | tokens | changes)), seed)


def bert(seed: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": 17, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return seeded(BertForSequenceClassification(BertConfig(intermediate_size=8, **sizes, num_labels=3)), seed)


def vit(seed: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    return seeded(ViTForImageClassification(ViTConfig(intermediate_size=8, **sizes, num_labels=3)), seed)


def llama(seed: int, **changes: Any) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 17, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return seeded(LlamaForCausalLM(LlamaConfig(intermediate_size=8, **sizes | changes)), seed)


def tied_llama(seed: int) -> nn.Module:
    return llama(seed, tie_word_embeddings=True)


def t5(seed: int) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"vocab_size": 17, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return seeded(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)), seed)


def headless(seed: int) -> nn.Module:
    return gpt2(seed).transformer


def lora(seed: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    return seeded(get_peft_model(gpt2(), config), seed)


def pretrained(**options: Any) -> Write:
    def write(folder: Path, trained: Any) -> Path:
        trained.save_pretrained(folder, **options)
        return folder

    return write


def sharded_bin(folder: Path, trained: Any) -> Path:
    from huggingface_hub import save_torch_model

    trained.config.save_pretrained(folder)
    save_torch_model(trained, folder, safe_serialization=False, max_shard_size="2KB")
    return folder


def single_bin(**options: Any) -> Write:
    def write(folder: Path, trained: Any) -> Path:
        trained.config.save_pretrained(folder)
        torch.save(trained.state_dict(), folder / "pytorch_model.bin", **options)
        return folder

    return write


def as_on_the_hub(folder: Path, trained: Any) -> Path:
    """GPT-2 as it is on the hub: the names of the network without its head, and masks that used to be saved."""
    trained.config.save_pretrained(folder)
    state = dict(trained.transformer.state_dict())
    state |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 16, 16).tril() for layer in range(2)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def in_the_cache(folder: Path, trained: Any) -> Path:
    """As the hub's cache keeps it: links into a folder of blobs."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "0a1b"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    trained.save_pretrained(folder / "made", max_shard_size="2KB")
    for index, path in enumerate(sorted((folder / "made").iterdir())):
        path.rename(blobs / str(index))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(index)))
    (folder / "made").rmdir()
    return snapshot


def with_code(folder: Path, trained: Any) -> Path:
    """A folder that brings the code of its model, which nobody asked for."""
    trained.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model", "AutoConfig": "modeling.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text(f"open({str(folder / 'was-run')!r}, 'w')\n")
    return folder


class Tokens(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.arange(6), "labels": torch.arange(6)}


def own_examples() -> list[dict[str, torch.Tensor]]:
    return [{"inputs": inputs, "labels": labels} for inputs, labels in zip(*data(), strict=True)]


class WithLoss(nn.Module):
    """A network of the user's own that the Trainer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small(0)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.net(inputs)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def own(seed: int) -> nn.Module:
    return seeded(WithLoss(), seed)


def trainer(folder: Path, trained: Any) -> Path:
    from transformers import Trainer, TrainingArguments

    examples = Tokens() if hasattr(trained, "config") else own_examples()
    options = {"max_steps": 3, "save_steps": 3, "per_device_train_batch_size": 2, "report_to": [], "disable_tqdm": True}
    arguments = TrainingArguments(output_dir=str(folder / "run"), use_cpu=True, learning_rate=0.1, **options)
    state = torch.get_rng_state()
    Trainer(model=trained, args=arguments, train_dataset=examples).train()
    torch.set_rng_state(state)
    return folder / "run" / "checkpoint-3"


def accelerate_state(folder: Path, trained: Any) -> Path:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    accelerator.prepare(trained, torch.optim.Adam(trained.parameters()))
    accelerator.save_state(str(folder / "state"))
    accelerator.free_memory()
    return folder / "state"


def lightning(compiled: bool = False, **options: Any) -> Write:
    def write(folder: Path, trained: nn.Module) -> Path:
        import lightning
        from lightning.fabric.utilities.data import AttributeDict

        class Classifier(lightning.LightningModule):
            def __init__(self, net: nn.Module, args: Any) -> None:  # noqa: ARG002
                super().__init__()
                self.save_hyperparameters()
                self.net = torch.compile(net, backend="eager") if compiled else net

            def training_step(self, batch: Any, _: int) -> Any:
                return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

            def configure_optimizers(self) -> Any:
                return torch.optim.Adam(self.parameters(), lr=0.1)

        args = argparse.Namespace(lr=0.1, out=Path("runs"), more=AttributeDict(depth=3))
        quietly = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=8)
        run = lightning.Trainer(
            max_epochs=2, accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quietly
        )
        state = torch.get_rng_state()
        run.fit(Classifier(trained, args), loader)
        torch.set_rng_state(state)
        run.save_checkpoint(folder / "epoch=1-step=6.ckpt", **options)
        trained.eval()
        return folder / "epoch=1-step=6.ckpt"

    return write


def adapter(folder: Path, trained: Any) -> Path:
    """An adapter, and beside it the base that it names."""
    base = gpt2()
    names = {f"base_model.model.{name}".replace("c_attn.", "c_attn.base_layer."): name for name in base.state_dict()}
    base.load_state_dict({names[n]: value for n, value in trained.state_dict().items() if n in names})
    base.save_pretrained(folder / "base")
    trained.peft_config["default"].base_model_name_or_path = str(folder / "base")
    trained.save_pretrained(folder / "adapter")
    return folder / "adapter"


def adapter_of(change: Callable[[Path], Any]) -> Write:
    def write(folder: Path, trained: Any) -> Path:
        path = adapter(folder, trained)
        change(path)
        return path

    return write


def names_base(name: str) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        config = json.loads((path / "adapter_config.json").read_text()) | {"base_model_name_or_path": name}
        (path / "adapter_config.json").write_text(json.dumps(config))

    return change


def as_bin(path: Path) -> None:
    torch.save(load_file(path / "adapter_model.safetensors"), path / "adapter_model.bin")
    (path / "adapter_model.safetensors").unlink()


def folder_of(*names: str) -> Write:
    def write(folder: Path, trained: Any) -> Path:
        for name in names:
            (folder / name).write_text("{}")
        return folder

    return write


def files_of(*names: str) -> Write:
    """The weights in the first of these files, others in the rest."""

    def write(folder: Path, trained: nn.Module) -> Path:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            torch.save(trained.state_dict() if name == names[0] else other(), folder / name)
        return folder

    return write


def shard_lost(folder: Path, trained: Any) -> Path:
    path = pretrained(max_shard_size="2KB")(folder, trained)
    next(path.glob("model-00002*")).unlink()
    return path


FRAMEWORKS: dict[str, Kind] = {
    "GPT-2, tied": Kind(pretrained(), gpt2, container="safetensors", slow=True),
    "GPT-2, sharded": Kind(pretrained(max_shard_size="2KB"), gpt2, container="sharded safetensors", slow=True),
    "GPT-2, its index": Kind(
        lambda folder, trained: pretrained(max_shard_size="2KB")(folder, trained) / "model.safetensors.index.json",
        gpt2,
        container="sharded safetensors",
        slow=True,
    ),
    "GPT-2, sharded .bin": Kind(sharded_bin, gpt2, container="sharded torch", slow=True),
    "GPT-2, .bin": Kind(single_bin(), gpt2, container="torch zip", slow=True),
    "GPT-2, legacy .bin": Kind(
        single_bin(_use_new_zipfile_serialization=False), gpt2, container="torch legacy", slow=True
    ),
    "GPT-2 as on the hub": Kind(as_on_the_hub, gpt2, slow=True),
    "GPT-2 in the hub's cache": Kind(in_the_cache, gpt2, slow=True),
    "GPT-2 with code": Kind(with_code, gpt2, slow=True),
    "GPT-2 without its head": Kind(pretrained(), headless, slow=True),
    "BERT": Kind(pretrained(), bert, slow=True),
    "ViT": Kind(pretrained(), vit, slow=True),
    "Llama": Kind(pretrained(), llama, slow=True),
    "Llama, tied": Kind(pretrained(), tied_llama, slow=True),
    "T5": Kind(pretrained(), t5, slow=True),
    "BERT without its head": Kind(
        lambda folder, trained: pretrained()(folder, trained.bert), bert, unfit=r"classifier\.", slow=True
    ),
    "a shard is lost": Kind(shard_lost, gpt2, unread="model-00002", slow=True),
    "Trainer, GPT-2": Kind(trainer, gpt2, step=3, slow=True),
    "Trainer, a model of one's own": Kind(trainer, own, step=3, slow=True),
    "Trainer, an adapter": Kind(
        lambda folder, trained: trainer(folder, trained) if adapter(folder, trained) else folder,
        lora,
        step=3,
        slow=True,
    ),
    "accelerate": Kind(accelerate_state, small, slow=True),
    "Lightning": Kind(
        lightning(),
        key="state_dict",
        step=6,
        left_out=("argparse.Namespace", "lightning.fabric.utilities.data.AttributeDict"),
        slow=True,
    ),
    "Lightning, weights only": Kind(lightning(weights_only=True), key="state_dict", step=6, slow=True),
    "Lightning, compiled": Kind(lightning(compiled=True), key="state_dict", step=6, slow=True),
    "LoRA": Kind(adapter, lora, slow=True),
    "LoRA, .bin": Kind(adapter_of(as_bin), lora, slow=True),
    "LoRA of a base that is not here": Kind(
        adapter_of(names_base("nobody/nothing")), lora, unread="nobody/nothing", unfit="nobody/nothing", slow=True
    ),
    "LoRA of a base that is lost": Kind(
        adapter_of(lambda path: shutil.rmtree(path.parent / "base")), lora, unread="/base", unfit="/base", slow=True
    ),
    "diffusers, .bin and a variant": Kind(
        files_of("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"), container="torch zip"
    ),
    "two models of accelerate": Kind(files_of("pytorch_model.bin", "pytorch_model_1.bin"), unread="several.*_1"),
    "shards without an index": Kind(
        files_of("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), unread="index"
    ),
    "a folder of folders": Kind(files_of("unet/model.bin", "vae/model.bin"), unread="unet, vae"),
    "a folder of nothing": Kind(folder_of(), unread="."),
    "a folder of a config": Kind(folder_of("config.json"), unread="."),
    "a folder of another library": Kind(folder_of("config.json", "tf_model.h5", "flax_model.msgpack"), unread="."),
}

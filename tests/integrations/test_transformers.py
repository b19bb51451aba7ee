"""The optimizers in the Trainer of transformers, against steps made by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from transformers.optimization import get_cosine_schedule_with_warmup

from landscape.integrations import MultiPassTrainer
from landscape.optim import CRSAM, SAM
from tests.integrations import byhand
from tests.optim.test_contract import OPTIMIZERS, equal

SAMPLES, BATCH, ACCUMULATE = 14, 2, 3  # seven micro-batches an epoch: groups of 3, 3 and 1

METHODS: dict[str, tuple[Callable[..., Any], Callable[..., list[Tensor]]]] = {
    "sam": (lambda base: SAM(base, rho=0.1), lambda *a: byhand.sam(*a, rho=0.1)),
    "crsam": (
        lambda base: CRSAM(base, rho=0.1, alpha=0.3, beta=0.2),
        lambda *a: byhand.crsam(*a, rho=0.1, alpha=0.3, beta=0.2),
    ),
}


class SAMTrainer(MultiPassTrainer, Trainer):
    """What a user writes."""


class Texts(torch.utils.data.Dataset):
    """Sequences of which each counts another number of tokens."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(12, (SAMPLES, 6), generator=generator)
        self.labels = self.ids.clone()
        for i, row in enumerate(self.labels):
            row[: 1 + i % 4] = -100

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[i], "labels": self.labels[i]}


def model(dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=12, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    config.resid_pdrop, config.embd_pdrop, config.attn_pdrop = dropout, 0.0, 0.0
    return GPT2LMHeadModel(config).to(dtype)


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    usual = {
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": ACCUMULATE,
        "num_train_epochs": 2,
        "learning_rate": 0.05,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "optim": "adamw_torch",  # the fused one rounds its numbers to float32
        "use_cpu": True,
    }
    return TrainingArguments(str(folder), **{**usual, **options})


def trainer(folder: Path, make: Any, *, net: nn.Module | None = None, **options: Any) -> SAMTrainer:
    more = {name: options.pop(name) for name in ("callbacks", "compute_loss_func", "eval_dataset") if name in options}
    return SAMTrainer(
        model() if net is None else net,
        arguments(folder, **options),
        train_dataset=Texts(),
        multi_pass=make,
        **more,
    )


def token_loss(net: nn.Module, batch: dict[str, Tensor], num_items: int) -> Tensor:
    return in_float64(net(input_ids=batch["input_ids"]), batch["labels"], num_items)


def in_float64(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """The loss of causal language models, which transformers computes in float32."""
    logits, labels = outputs.logits[:, :-1].flatten(0, 1).double(), labels[:, 1:].flatten()
    return cross_entropy(logits, labels, reduction="sum") / int(num_items_in_batch)


def groups() -> Iterator[list[dict[str, Tensor]]]:
    """The micro-batches of each step of two epochs."""
    texts = Texts()
    batches = [
        {"input_ids": texts.ids[i : i + BATCH], "labels": texts.labels[i : i + BATCH]} for i in range(0, SAMPLES, BATCH)
    ]
    for _ in range(2):
        yield from (batches[i : i + ACCUMULATE] for i in range(0, len(batches), ACCUMULATE))


def steps_by_hand(
    net: nn.Module, direction: Callable[..., list[Tensor]], losses: Callable[..., list[Tensor]]
) -> list[dict[str, float]]:
    """Two epochs of AdamW with the arguments above; what each step should log."""
    params = list(net.parameters())
    decayed = [p for p in params if p.ndim > 1]
    rest = [p for p in params if p.ndim == 1]
    base = AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=0.05)
    scheduler = get_cosine_schedule_with_warmup(base, 2, 6)
    logged = []
    for group in groups():
        loss = sum(loss.item() for loss in losses(net, group))
        d, length = byhand.clip(
            direction(params, lambda group=group: byhand.gradient_of(params, lambda: losses(net, group))), 0.5
        )
        for p, v in zip(params, d, strict=True):
            p.grad = v
        logged.append({"loss": loss, "grad_norm": length.item(), "learning_rate": base.param_groups[0]["lr"]})
        base.step()
        scheduler.step()
    return logged


def weights(trainer: Trainer) -> list[Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


def token_losses(net: nn.Module, group: list[dict[str, Tensor]]) -> list[Tensor]:
    num_items = sum((batch["labels"][:, 1:] != -100).sum().item() for batch in group)
    return [token_loss(net, batch, num_items) for batch in group]


def mean_losses(net: nn.Module, group: list[dict[str, Tensor]]) -> list[Tensor]:
    return [token_loss(net, batch, (batch["labels"][:, 1:] != -100).sum().item()) / len(group) for batch in group]


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_tokens_clipping_decay_and_schedule_are_those_of_steps_by_hand(tmp_path: Path, name: str) -> None:
    make, direction = METHODS[name]
    mine, by_hand = trainer(tmp_path, make, compute_loss_func=in_float64), model()
    mine.train()
    expected = steps_by_hand(by_hand, direction, token_losses)
    assert byhand.distance(weights(mine), list(by_hand.parameters())) < 1e-12
    logged = mine.state.log_history[:-1]
    assert len(logged) == len(expected) == 6
    for found, hand in zip(logged, expected, strict=True):
        assert found["loss"] == pytest.approx(hand["loss"], rel=1e-6)  # the Trainer sums it up in float32
        assert found["grad_norm"] == pytest.approx(hand["grad_norm"], rel=1e-12)
    assert [found["learning_rate"] for found in logged] == pytest.approx([h["learning_rate"] for h in expected])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_of_the_model_itself(tmp_path: Path, checkpointing: bool) -> None:
    mine, by_hand = trainer(tmp_path, METHODS["sam"][0], activation_checkpointing=checkpointing), model()
    mine.train()
    steps_by_hand(by_hand, METHODS["sam"][1], token_losses)
    assert byhand.distance(weights(mine), list(by_hand.parameters())) < 1e-5  # its loss is in float32


def test_a_loss_that_knows_no_tokens_is_the_mean_over_micro_batches(tmp_path: Path) -> None:
    class Means(SAMTrainer):
        def _prepare_inputs(self, inputs: Any) -> Any:
            return inputs  # no copy

        def compute_loss(self, net: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            labels = inputs.pop("labels")  # as many do, and each pass needs them again
            return in_float64(net(**inputs), labels, (labels[:, 1:] != -100).sum())

    mine = Means(model(), arguments(tmp_path), train_dataset=Texts(), multi_pass=METHODS["sam"][0])
    mine.loss_is_scaled_for_ga = False
    mine.train()
    by_hand = model()
    steps_by_hand(by_hand, METHODS["sam"][1], mean_losses)
    assert byhand.distance(weights(mine), list(by_hand.parameters())) < 1e-12


def test_each_pass_gets_the_batch_as_it_was(tmp_path: Path) -> None:
    class Masking(SAMTrainer):
        in_place = True

        def compute_loss(self, net: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            ids = inputs["input_ids"] if self.in_place else inputs["input_ids"].clone()
            inputs["input_ids"] = ids.add_(1).remainder_(12)
            return super().compute_loss(net, inputs, *args, **kwargs)

    changing, copying = (
        Masking(model(), arguments(tmp_path), train_dataset=Texts(), multi_pass=METHODS["sam"][0]) for _ in range(2)
    )
    copying.in_place = False
    changing.train()
    copying.train()
    assert equal(weights(changing), weights(copying))


def test_bfloat16(tmp_path: Path) -> None:
    def losses(net: nn.Module, group: list[dict[str, Tensor]]) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            return token_losses(net, group)

    mine = trainer(tmp_path, METHODS["sam"][0], net=model(torch.float32), bf16=True, compute_loss_func=in_float64)
    mine.train()
    by_hand = model(torch.float32)
    steps_by_hand(by_hand, METHODS["sam"][1], losses)
    assert byhand.distance(weights(mine), list(by_hand.parameters())) < 1e-4


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_steps_as_with_a_closure_over_all_micro_batches(tmp_path: Path, make: Any) -> None:
    mine = trainer(tmp_path, lambda base: make(base, None), compute_loss_func=in_float64, max_grad_norm=0.0)
    mine.train()
    net = model()
    plain = Trainer(net, arguments(tmp_path))
    optimizer = make(plain.create_optimizer(), net)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 2, 6)
    for group in groups():

        def closure(group: list[dict[str, Tensor]] = group) -> Tensor:
            optimizer.zero_grad()
            losses = token_losses(net, group)
            for loss in losses:
                loss.backward()
            return torch.stack(losses).sum()

        optimizer.step(closure)
        scheduler.step()
    assert byhand.distance(weights(mine), list(net.parameters())) < 1e-12


@pytest.mark.parametrize("name", ["sam", "gam", "rsam", "sasam"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    def start(folder: str) -> SAMTrainer:
        make = OPTIMIZERS[name]
        options = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 0.01}
        return trainer(tmp_path / folder, lambda base: make(base, None), net=model(dropout=0.5), **options)

    straight, resumed = start("straight"), start("resumed")
    straight.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-2"))
    assert equal(weights(straight), weights(resumed))
    assert straight.state.log_history[-2]["loss"] == resumed.state.log_history[-2]["loss"]


def test_callbacks_see_the_direction_before_the_update_and_evaluation_the_weights_after_it(tmp_path: Path) -> None:
    seen: list[tuple[str, Any]] = []

    class Notes(TrainerCallback):
        def on_substep_end(self, *_: Any, **__: Any) -> None:
            seen.append(("substep", None))

        def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
            seen.append(("before", byhand.norm([p.grad for p in model.parameters()]).item()))

        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            seen.append(("after", None))

    options = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": Texts(), "num_train_epochs": 1}
    mine = trainer(tmp_path, METHODS["sam"][0], callbacks=[Notes()], **options)
    mine.train()
    kinds = ["substep", "substep", "before", "after"]
    assert [kind for kind, _ in seen] == [*kinds, *kinds, "before", "after"]
    assert all(length <= 0.5 + 1e-6 for kind, length in seen if kind == "before")
    assert [log["step"] for log in mine.state.log_history if "eval_loss" in log] == [1, 2, 3]


def test_a_pass_that_is_not_finite_skips_the_step(tmp_path: Path) -> None:
    class Spoiled(SAMTrainer):
        calls = 0

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().compute_loss(*args, **kwargs) * (torch.nan if self.calls == 4 else 1.0)

    mine = Spoiled(model(), arguments(tmp_path, max_steps=1), train_dataset=Texts(), multi_pass=METHODS["sam"][0])
    mine.train()
    assert mine.optimizer.optimizer.num_skipped == 1
    assert equal(weights(mine), list(model().parameters()))


class Stream(torch.utils.data.IterableDataset):
    """The texts without a length: the last group of an epoch is not known to be one."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        yield from (Texts()[i] for i in range(SAMPLES))


@pytest.mark.parametrize(
    "options",
    [{"label_smoothing_factor": 0.1}, {"optim": "adafactor"}, {"optim": "sgd", "max_steps": 5, "stream": True}],
    ids=lambda options: "-".join(options),
)
def test_without_a_radius_it_is_the_trainer_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    texts = Stream() if options.pop("stream", False) else Texts()
    mine = SAMTrainer(
        model(), arguments(tmp_path, **options), train_dataset=texts, multi_pass=lambda base: SAM(base, rho=0.0)
    )
    plain = Trainer(model(), arguments(tmp_path, **options), train_dataset=texts)
    mine.loss_is_scaled_for_ga = plain.loss_is_scaled_for_ga = False  # so it is divided by the length of its group
    mine.train()
    plain.train()
    assert equal(weights(mine), weights(plain))
    assert mine.state.global_step == plain.state.global_step


def test_a_compiled_model(tmp_path: Path) -> None:
    compiled = trainer(tmp_path, METHODS["sam"][0], torch_compile=True, torch_compile_backend="eager")
    plain = trainer(tmp_path, METHODS["sam"][0])
    compiled.train()
    plain.train()
    assert byhand.distance(weights(compiled), weights(plain)) < 1e-12


def test_training_again_goes_on_with_the_same_optimizer(tmp_path: Path) -> None:
    mine = trainer(tmp_path, METHODS["sam"][0], num_train_epochs=1)
    mine.train()
    before = weights(mine)
    mine.train()
    assert not equal(weights(mine), before)


def test_a_run_that_was_interrupted_within_a_step_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_substep_end(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    straight, again = (trainer(tmp_path, METHODS["sam"][0]) for _ in range(2))
    straight.train()
    again.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        again.train()
    again.pop_callback(Stop)
    again.train()
    assert equal(weights(again), weights(straight))


def test_an_optimizer_of_ones_own(tmp_path: Path) -> None:
    net = model()
    optimizer = SAM(AdamW(net.parameters(), lr=0.01), rho=0.1)
    mine = SAMTrainer(net, arguments(tmp_path), train_dataset=Texts(), optimizers=(optimizer, None))
    mine.train()
    assert mine.optimizer.optimizer is optimizer


@pytest.mark.parametrize(
    ("options", "message"),
    [({"optim": "lomo"}, "optim='lomo' updates the weights itself"), ({}, "is AdamW. Expected one of landscape.optim")],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, None, **options).train()

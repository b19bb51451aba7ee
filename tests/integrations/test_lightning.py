"""The optimizers in Lightning, against steps made by hand."""
# ruff: noqa: ARG002

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import CatMetric, MeanMetric, MetricCollection

from landscape.integrations import MultiPassModule
from landscape.optim import CRSAM, SAM
from tests.integrations import byhand
from tests.optim.test_contract import OPTIMIZERS, equal

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers, devices and log intervals

SAMPLES, BATCH, ACCUMULATE = 30, 4, 3  # eight micro-batches an epoch: groups of 3, 3 and 2, the last one smaller

METHODS: dict[str, tuple[Callable[..., Any], Callable[..., list[Tensor]]]] = {
    "sam": (lambda base, model: SAM(base, rho=0.1, model=model), lambda *a: byhand.sam(*a, rho=0.1)),
    "crsam": (
        lambda base, model: CRSAM(base, rho=0.1, alpha=0.3, beta=0.2, model=model),
        lambda *a: byhand.crsam(*a, rho=0.1, alpha=0.3, beta=0.2),
    ),
    "plain": (lambda base, _: base, byhand.plain),
    "none": (lambda base, _: SAM(base, rho=0.0), byhand.plain),
}


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SAMPLES, 4, generator=generator).to(dtype), torch.randint(3, (SAMPLES,), generator=generator)


class Written(LightningModule):
    """What a user has."""

    def __init__(self, make: Callable[..., Any], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.net, self.make = network(dtype), make

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = cross_entropy(self.net(x), y)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> Any:
        optimizer = self.make(SGD(self.net.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01), self.net)
        return [optimizer], [{"scheduler": StepLR(optimizer, 1, gamma=0.9), "interval": "step"}]

    def weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.net.parameters()]


class Classifier(MultiPassModule, Written):
    """What makes it right."""


class Seen(Callback):
    """What callbacks see: the logged losses, the outputs, the norms of directions."""

    def __init__(self) -> None:
        self.logged: list[float] = []
        self.outputs: list[float] = []
        self.norms: list[float] = []
        self.mean = 0.0

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs.append(outputs["loss"].item())
        if not trainer.fit_loop._should_accumulate():
            self.logged.append(trainer.callback_metrics["loss_step"].item())

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        self.norms.append(byhand.norm([p.grad for p in module.net.parameters()]).item())

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        self.mean = trainer.callback_metrics["loss_epoch"].item()


def fit(module: LightningModule, *, epochs: int = 1, ckpt_path: Any = None, val: Any = None, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual = {"accumulate_grad_batches": ACCUMULATE, "gradient_clip_val": 0.05, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, **{**quiet, **usual, **options})
    loader = DataLoader(TensorDataset(*data(next(module.parameters()).dtype)), batch_size=BATCH)
    trainer.fit(module, loader, val, ckpt_path=ckpt_path)
    return trainer


def groups(dtype: torch.dtype = torch.float64) -> list[list[tuple[Tensor, Tensor]]]:
    x, y = data(dtype)
    micro_batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    return [micro_batches[i : i + ACCUMULATE] for i in range(0, len(micro_batches), ACCUMULATE)]


def steps_by_hand(
    model: nn.Module, direction: Callable[..., list[Tensor]], *, autocast: torch.dtype | None = None
) -> tuple[list[Tensor], list[list[float]], list[float]]:
    """The weights after an epoch, the losses of each group's micro-batches, and the norms of the directions."""
    params = list(model.parameters())
    base = SGD(params, lr=0.2, momentum=0.9, weight_decay=0.01)
    scheduler = StepLR(base, 1, gamma=0.9)
    losses, norms = [], []
    for group in groups(params[0].dtype):

        def found(group: Any = group) -> list[Tensor]:
            with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None, cache_enabled=False):
                return [cross_entropy(model(x), y) / ACCUMULATE for x, y in group]

        losses.append([ACCUMULATE * loss.item() for loss in found()])
        d, length = byhand.clip(direction(params, lambda found=found: byhand.gradient_of(params, found)), 0.05)
        norms.append(length.item())
        for p, v in zip(params, d, strict=True):
            p.grad = v
        base.step()
        scheduler.step()
    return params, losses, norms


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_clipping_schedule_and_logs_are_those_of_steps_by_hand(name: str) -> None:
    make, direction = METHODS[name]
    module, seen = Classifier(make), Seen()
    trainer = fit(module, callbacks=[seen])
    params, losses, norms = steps_by_hand(network(), direction)
    assert byhand.distance(module.weights(), params) < 1e-12
    assert trainer.global_step == len(losses) == 3
    assert seen.norms == pytest.approx(norms, rel=1e-12)
    assert seen.logged == pytest.approx([group[-1] for group in losses], rel=1e-6)
    assert [seen.outputs[i] for i in (2, 5, 7)] == pytest.approx([group[-1] / ACCUMULATE for group in losses])
    sizes = [[len(y) for _, y in group] for group in groups()]
    total = sum(loss * n for some, ns in zip(losses, sizes, strict=True) for loss, n in zip(some, ns, strict=True))
    assert seen.mean == pytest.approx(total / SAMPLES, rel=1e-6)


@pytest.mark.parametrize("name", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(name: str) -> None:
    make, direction = METHODS["sam"]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if name == "16-mixed" else None
    module = Classifier(make, torch.float32)
    fit(module, plugins=[MixedPrecision(name, "cpu", scaler=scaler)])
    dtype = torch.bfloat16 if scaler is None else torch.float16
    params, _, _ = steps_by_hand(network(torch.float32), direction, autocast=dtype)
    assert byhand.distance(module.weights(), params) < 1e-4
    full, _, _ = steps_by_hand(network(torch.float32), direction)
    assert byhand.distance(module.weights(), full) > 3e-6


def test_an_infinite_pass_skips_the_update_and_lowers_the_scale() -> None:
    class Spoiled(Classifier):
        calls = 0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.calls += 1
            return super().training_step(batch, batch_idx) * (torch.inf if self.calls == 4 else 1.0)

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    module = Spoiled(METHODS["sam"][0], torch.float32)
    trainer = fit(module, limit_train_batches=2, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    assert module.calls == 4
    assert trainer.optimizers[0].num_skipped == 1
    assert equal(module.weights(), list(network(torch.float32).parameters()))
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_steps_as_with_a_closure_over_all_micro_batches(make: Any) -> None:
    module = Classifier(make)
    fit(module, gradient_clip_val=None)
    model = network()
    optimizer = make(SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01), model)
    scheduler = StepLR(optimizer, 1, gamma=0.9)
    for group in groups():

        def closure(group: Any = group) -> Tensor:
            optimizer.zero_grad()
            losses = [cross_entropy(model(x), y) / ACCUMULATE for x, y in group]
            for loss in losses:
                loss.backward()
            return torch.stack(losses).sum()

        optimizer.step(closure)
        scheduler.step()
    assert byhand.distance(module.weights(), list(model.parameters())) < 1e-12


@pytest.mark.parametrize("name", ["sam", "gam", "rsam", "sasam"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    first, straight, resumed = (Classifier(OPTIMIZERS[name]) for _ in range(3))
    fit(first).save_checkpoint(tmp_path / "first.ckpt")
    fit(straight, epochs=2)
    trainer = fit(resumed, epochs=2, ckpt_path=tmp_path / "first.ckpt")
    assert trainer.global_step == 6
    assert equal(straight.weights(), resumed.weights())


def test_steps_that_call_their_supers_and_steps_of_one_class() -> None:
    class Calling(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            return {"loss": super().training_step(batch, batch_idx), "more": 1}

    class InOne(MultiPassModule, LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any) -> Tensor:
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return Written.configure_optimizers(self)

        make = staticmethod(METHODS["sam"][0])

    modules = Calling(METHODS["sam"][0]), InOne()
    params, _, _ = steps_by_hand(network(), METHODS["sam"][1])
    for module in modules:
        fit(module)
        assert byhand.distance([p.detach() for p in module.net.parameters()], params) < 1e-12


def test_a_micro_batch_that_is_skipped_counts_for_nothing() -> None:
    class Skipping(Classifier):
        skipped = 1  # the second of the first group; the third is the last one

        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            return None if batch_idx == self.skipped else super().training_step(batch, batch_idx)

    for skipped in (1, 2):
        module, by_hand = Skipping(METHODS["sam"][0]), network()
        module.skipped = skipped
        fit(module, limit_train_batches=3, gradient_clip_val=None)
        params = list(by_hand.parameters())
        kept = [batch for i, batch in enumerate(groups()[0]) if i != skipped]
        d = byhand.sam(
            params,
            lambda params=params, by_hand=by_hand, kept=kept: byhand.gradient_of(
                params, lambda: [cross_entropy(by_hand(x), y) / ACCUMULATE for x, y in kept]
            ),
            rho=0.1,
        )
        expected = [p - 0.2 * (v + 0.01 * p) for p, v in zip(params, d, strict=True)]
        assert byhand.distance(module.weights(), expected) < 1e-12


def test_a_step_whose_micro_batches_are_all_skipped_is_skipped() -> None:
    class Skipping(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            return None if batch_idx in (3, 4, 5) else super().training_step(batch, batch_idx)

    skipping, plain = Skipping(METHODS["sam"][0]), Skipping(METHODS["plain"][0])
    trainer = fit(skipping, gradient_clip_val=None)
    assert trainer.optimizers[0].num_skipped == 1
    assert trainer.global_step == 3
    by_hand = Skipping(METHODS["none"][0])
    fit(by_hand, gradient_clip_val=None)
    fit(plain, gradient_clip_val=None)
    assert byhand.distance(by_hand.weights(), plain.weights()) < 1e-12


def test_a_run_that_is_resumed_within_a_step_goes_on_with_the_micro_batches_that_are_left(tmp_path: Path) -> None:
    def resumed(method: str) -> list[Tensor]:
        first, second = (Classifier(METHODS[method][0]) for _ in range(2))
        loader = DataLoader(TensorDataset(*data()), batch_size=10)
        saved = ModelCheckpoint(tmp_path / method, save_top_k=-1, save_on_train_epoch_end=False, filename="{step}")
        options = {"val_check_interval": 4, "num_sanity_val_steps": 0, "val": loader, "callbacks": [saved]}
        fit(first, enable_checkpointing=True, **options)
        fit(second, ckpt_path=tmp_path / method / "step=1.ckpt")  # after four micro-batches of three and three and two
        return second.weights()

    assert byhand.distance(resumed("none"), resumed("plain")) < 1e-12


def test_each_pass_gets_the_batch_as_it_was() -> None:
    class Changing(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            y, x = batch.pop(), batch.pop()
            return super().training_step((x.mul_(0.5), y), batch_idx)

    class Halving(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step((0.5 * batch[0], batch[1]), batch_idx)

    changing, halving = Changing(METHODS["sam"][0]), Halving(METHODS["sam"][0])
    fit(changing)
    fit(halving)
    assert equal(changing.weights(), halving.weights())


def test_metrics_follow_the_clean_pass() -> None:
    class Measuring(Classifier):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.both = MetricCollection({"mean": MeanMetric(), "all": CatMetric()})
            self.steps = 0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.steps += 1
            self.both.update(loss.detach())
            return loss

    module, plain = Measuring(METHODS["sam"][0]), Measuring(METHODS["plain"][0])
    fit(module, limit_train_batches=3)
    fit(plain, limit_train_batches=3)
    assert module.steps == 2 * plain.steps
    assert torch.equal(module.both["mean"].compute(), plain.both["mean"].compute())
    assert torch.equal(module.both["all"].compute(), plain.both["all"].compute())


def test_activation_statistics_at_averaged_weights_are_of_all_batches() -> None:
    module = Classifier(METHODS["sam"][0])
    module.net[1] = nn.BatchNorm1d(8).double()
    module.configure_optimizers = lambda: module.make(SGD(module.net.parameters(), lr=0.1), module.net)
    averaging = StochasticWeightAveraging(0.05, swa_epoch_start=1, annealing_epochs=1)
    fit(module, epochs=3, callbacks=[averaging], gradient_clip_val=None)
    means = [module.net[0](x).mean(dim=0) for x in data()[0].split(BATCH)]
    assert torch.allclose(module.net[1].running_mean, torch.stack(means).mean(dim=0))


def test_buffers_follow_the_clean_pass() -> None:
    module = Classifier(METHODS["sam"][0])
    module.net[1] = nn.BatchNorm1d(8, momentum=None).double()
    fit(module, gradient_clip_algorithm="value", gradient_clip_val=0.01)
    assert module.net[1].num_batches_tracked == 8


def test_manual_optimization_goes_on_as_it_was() -> None:
    class Manual(Classifier):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer, (x, y) = self.optimizers(), batch

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = cross_entropy(self.net(x), y)
                self.manual_backward(loss)
                return loss

            optimizer.step(closure)

    module, automatic = Manual(METHODS["sam"][0]), Classifier(METHODS["sam"][0])
    module.configure_optimizers = lambda: module.make(SGD(module.net.parameters(), lr=0.2), module.net)
    automatic.configure_optimizers = lambda: automatic.make(SGD(automatic.net.parameters(), lr=0.2), automatic.net)
    alone = {"accumulate_grad_batches": 1, "gradient_clip_val": None}
    fit(module, **alone)
    fit(automatic, **alone)
    assert equal(module.weights(), automatic.weights())


def test_without_the_mix_in_accumulation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adds its gradients to those that were there .* landscape\.integrations"):
        fit(Written(METHODS["sam"][0]))


def test_what_would_go_wrong_is_refused_by_name() -> None:
    class Own(Classifier):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

    with pytest.raises(RuntimeError, match=r"optimizer_step\(\) of Own calls optimizer.step\(\)"):
        fit(Own(METHODS["sam"][0]))

    class Behind(Written, MultiPassModule):
        pass

    with pytest.raises(RuntimeError, match="with MultiPassModule before LightningModule"):
        fit(Behind(METHODS["sam"][0]))
    with pytest.raises(TypeError, match="dataloader_iter"):

        class Iterator(Classifier):
            def training_step(self, dataloader_iter: Any) -> None: ...

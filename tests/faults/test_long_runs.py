"""What long runs need: analyses leave nothing behind in memory, and a track costs the same a checkpoint."""

import cProfile
import gc
import pstats

import pytest
import torch
from torch import nn

from landscape import Objective, analyze
from landscape.tracking import Settings, track
from tests.tracking.runs import write


def live_bytes():
    """Of all tensors that Python still knows."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, nn.Parameter)]
    return sum(one.untyped_storage().nbytes() for one in tensors if one.layout == torch.strided)


@pytest.mark.slow
def test_three_hundred_analyses_in_one_process_keep_its_memory():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    batch = (torch.randn(40, 6), torch.arange(40) % 3)
    after = []
    for number in range(300):
        analyze(Objective(model, nn.CrossEntropyLoss(), [batch]), ["loss", "gradient_norm", "lambda_max"])
        if number in (20, 299):
            after.append(live_bytes())
    assert after[1] <= after[0] + 4096


@pytest.mark.slow
def test_a_track_costs_the_same_a_checkpoint_however_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.tracking.summary.save_figure", lambda *_: [])
    monkeypatch.setattr("landscape.tracking.summary.write_run_page", lambda *_: None)

    def num_calls(num_checkpoints):
        folder = tmp_path / str(num_checkpoints)
        for epoch in range(1, num_checkpoints + 1):  # without the rows of metrics, which grow with the epochs
            write(folder / f"epoch-{epoch:04d}.pt", epoch, epochs=num_checkpoints, metrics=[])
        with cProfile.Profile() as profile:
            tracked = track(folder, Settings(metrics=("loss",), split="train"))
        assert len(tracked.analyses) == num_checkpoints
        return pstats.Stats(profile).total_calls

    few, many, more = map(num_calls, (20, 120, 220))
    assert more - many <= 1.2 * (many - few)

"""Policies: AutoAugment, RandAugment by kornia where it is installed, and what is said where it is not."""

import importlib.util
import sys

import pytest
import torch

from landscape.data import augment
from landscape.data.augment import apply_policy

IMAGES = torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
needs_kornia = pytest.mark.skipif(importlib.util.find_spec("kornia") is None, reason="kornia is not installed")


def applied(policy: str, seed: int) -> torch.Tensor:
    return apply_policy(policy, IMAGES, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("policy", ["autoaugment", pytest.param("randaugment", marks=needs_kornia)])
def test_policies_change_pixels_and_depend_on_the_generator_only(policy):
    before = torch.get_rng_state()
    changed = applied(policy, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (changed.dtype, changed.shape) == (torch.uint8, IMAGES.shape)
    torch.rand(5)
    assert torch.equal(applied(policy, 1), changed)
    assert any(not torch.equal(applied(policy, seed), changed) for seed in range(2, 6))
    assert not torch.equal(changed, IMAGES)


def test_without_kornia_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    with pytest.raises(ValueError, match=r'kornia is needed \(.*\): pip install "landscape-geometry\[augment\]"\.'):
        applied("randaugment", 1)


def test_what_is_no_policy_or_no_color_image_is_refused():
    with pytest.raises(ValueError, match=r"policy='mixup' is unknown\. Expected one of: none, randaugment"):
        augment(IMAGES, torch.Tensor.float, generator=torch.Generator(), policy="mixup")
    with pytest.raises(ValueError, match=r"got torch.uint8 of 1 channels\. Expected color pixels\."):
        apply_policy("randaugment", IMAGES[:, :1], generator=torch.Generator())

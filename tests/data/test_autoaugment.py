"""AutoAugment: each change against numpy loops over pixels, and which are drawn how often."""

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import autoaugment as module
from landscape.data.autoaugment import CHANGES, POLICY, autoaugment

PIXELS = np.random.default_rng(0).integers(256, size=(12, 10, 3), dtype=np.uint8)  # no side is the other


def changed(name: str, strength: int, sign: int) -> np.ndarray:
    return np.asarray(CHANGES[name](Image.fromarray(PIXELS), strength / 9, sign))


def moved(where) -> np.ndarray:
    """Each pixel (x, y) is the one whose square ``where`` of its center lies in; black from outside."""
    height, width, _ = PIXELS.shape
    out = np.zeros_like(PIXELS)
    for y in range(height):
        for x in range(width):
            u, v = (int(np.floor(at)) for at in where(x + 0.5, y + 0.5))
            if 0 <= u < width and 0 <= v < height:
                out[y, x] = PIXELS[v, u]
    return out


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strength", [0, 3, 8, 9])
def test_moves(strength: int, sign: int) -> None:
    slope = sign * 0.3 * strength / 9
    assert np.array_equal(changed("shear_x", strength, sign), moved(lambda x, y: (x + slope * y, y)))
    assert np.array_equal(changed("shear_y", strength, sign), moved(lambda x, y: (x, y + slope * x)))
    for name, side, axis in (("translate_x", 10, (1, 0)), ("translate_y", 12, (0, 1))):
        shift = sign * int(150 / 331 * side * strength / 9)
        expected = moved(lambda x, y, shift=shift, axis=axis: (x + shift * axis[0], y + shift * axis[1]))
        assert np.array_equal(changed(name, strength, sign), expected)
    angle = np.deg2rad(sign * 30 * strength / 9)
    cos, sin = np.cos(angle), np.sin(angle)
    rotated = moved(lambda x, y: (5 + cos * (x - 5) - sin * (y - 6), 6 + sin * (x - 5) + cos * (y - 6)))
    assert (changed("rotate", strength, sign) != rotated).any(axis=2).mean() < 0.02  # a tie of rounding at most


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strength", [0, 4, 9])
def test_blends(strength: int, sign: int) -> None:
    factor, x = 1 + sign * 0.9 * strength / 9, PIXELS.astype(float)
    gray = (PIXELS.astype(int) @ [19595, 38470, 7471] + 0x8000) >> 16  # ITU-R 601-2, as Pillow rounds it
    smooth = x.copy()
    for i in range(1, 11):
        for j in range(1, 9):
            smooth[i, j] = np.floor((x[i - 1 : i + 2, j - 1 : j + 2].sum((0, 1)) + 4 * x[i, j]) / 13 + 0.5)
    others = {"brightness": 0 * x, "color": gray[..., None] + 0 * x, "sharpness": smooth}
    others["contrast"] = 0 * x + int(gray.mean() + 0.5)
    for name, other in others.items():
        expected = (other + factor * (x - other)).clip(0, 255)
        assert np.abs(changed(name, strength, sign) - expected).max() < 1.01  # Pillow cuts what is behind the point


@pytest.mark.parametrize("strength", range(10))
def test_changes_of_single_values(strength: int) -> None:
    bits = 8 - round(4 * strength / 9)
    assert np.array_equal(changed("posterize", strength, 1), PIXELS >> (8 - bits) << (8 - bits))
    threshold = 255 * (1 - strength / 9)
    assert np.array_equal(changed("solarize", strength, 1), np.where(threshold > PIXELS, PIXELS, 255 - PIXELS))
    assert np.array_equal(changed("invert", strength, 1), 255 - PIXELS)


def test_changes_by_the_histogram() -> None:
    contrasted, equalized = changed("autocontrast", 0, 1), changed("equalize", 0, 1)
    for channel in range(3):
        x = PIXELS[..., channel].astype(int)
        low, high = x.min(), x.max()
        scaled = ((x - low) * (255 / (high - low))).clip(0, 255)
        assert np.abs(contrasted[..., channel] - scaled).max() < 1.01
        counts = np.bincount(x.ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        below = np.concatenate([[0], counts.cumsum()[:-1]])
        expected = x if step == 0 else ((step // 2 + below) // step).clip(0, 255)[x]
        assert np.array_equal(equalized[..., channel], expected)


def test_equalizing_a_large_image() -> None:
    pixels = np.random.default_rng(1).binomial(255, 0.3, size=(64, 64, 3)).astype(np.uint8)
    found = np.asarray(CHANGES["equalize"](Image.fromarray(pixels), 0, 1))
    counts = np.bincount(pixels[..., 0].ravel(), minlength=256)
    step = (counts.sum() - counts[counts > 0][-1]) // 255
    below = np.concatenate([[0], counts.cumsum()[:-1]])
    assert np.array_equal(found[..., 0], ((step // 2 + below) // step).clip(0, 255)[pixels[..., 0]])


def test_each_image_draws_a_pair_and_makes_each_change_with_its_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[tuple[str, int], list[int]] = {}

    def note(name: str):
        return lambda picture, share, sign: made.setdefault((name, round(9 * share)), []).append(sign) or picture

    monkeypatch.setattr(module, "CHANGES", {name: note(name) for name in CHANGES})
    n = 10_000
    images = torch.zeros(n, 3, 2, 2, dtype=torch.uint8)
    assert torch.equal(autoaugment(images, generator=torch.Generator().manual_seed(0)), images)
    expected: dict[tuple[str, int], float] = {}
    for pair in POLICY:
        for name, probability, strength in pair:
            expected[name, strength] = expected.get((name, strength), 0) + n / 25 * probability
    for key, count in expected.items():
        assert abs(len(made.get(key, [])) - count) <= 5 * count**0.5
    signs = [sign for some in made.values() for sign in some]
    assert abs(np.mean(signs)) < 5 / len(signs) ** 0.5
    assert len(POLICY) == 25
    assert {name for pair in POLICY for name, _, _ in pair} == CHANGES.keys() - {"shear_x"}


def test_one_seed_gives_one_result_image_by_image() -> None:
    images = torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one, again, other = (autoaugment(images, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.is_contiguous()

import colorsys
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import Split, corrupt, load_data
from landscape.data.corruptions import CORRUPTIONS

RANDOM = [name for name in CORRUPTIONS if name.endswith(("noise", "snow", "frost", "fog", "elastic_transform"))]
RANDOM += ["glass_blur", "motion_blur"]


def split(num_images: int, channels: int = 3, height: int = 32, width: int = 32, *, seed: int = 0) -> Split:
    """Smooth random pixels, so that blurs do not take everything away."""
    coarse = torch.rand(num_images, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return Split((255 * smooth).round().byte(), torch.arange(num_images), (0.5,) * channels, (0.25,) * channels)


def one(image: np.ndarray, corruption: str, severity: int) -> np.ndarray:
    """Corrupt one float image (h, w, c) in [0, 1]."""
    inputs = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    return (
        corrupt(Split(inputs, torch.tensor([0])), corruption=corruption, severity=severity)
        .inputs[0]
        .permute(1, 2, 0)
        .numpy()
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((12, 10, 3))


def test_they_are_the_fifteen():
    assert len(CORRUPTIONS) == 15
    assert all(len(strengths) == 5 for _, strengths in CORRUPTIONS.values())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 14), (3, 70, 66)])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_images_of_every_size_stay_images_and_change(corruption, shape):
    clean = split(2, *shape)
    for severity in (1, 5):
        out = corrupt(clean, corruption=corruption, severity=severity)
        assert (out.inputs.shape, out.inputs.dtype) == (clean.inputs.shape, torch.uint8)
        assert not torch.equal(out.inputs, clean.inputs)
        assert torch.equal(out.targets, clean.targets)
        assert (out.mean, out.std) == (clean.mean, clean.std)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_floats_and_pixels_are_corrupted_alike(corruption):
    pixels = split(2, 3, 16, 16)
    floats = replace(pixels, inputs=pixels.inputs / 255)
    a, b = (corrupt(s, corruption=corruption, severity=3).inputs for s in (pixels, floats))
    assert b.dtype == torch.float32
    assert 0 <= b.min() <= b.max() <= 1
    assert ((255 * b - a).abs() < 0.51).float().mean() > 0.99  # rounding may decide how many photons arrive


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_image_depends_on_seed_and_place_alone(corruption):
    clean = split(4, 3, 16, 16)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    whole, again, other = (corrupt(clean, corruption=corruption, severity=4, seed=s).inputs for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(whole, again)
    assert torch.equal(whole, other) == (corruption not in RANDOM)
    half = replace(clean, inputs=clean.inputs[:2], targets=clean.targets[:2])
    assert torch.equal(corrupt(half, corruption=corruption, severity=4, seed=1).inputs, whole[:2])
    twins = replace(clean, inputs=clean.inputs[:1].repeat(2, 1, 1, 1), targets=clean.targets[:2])
    first, second = corrupt(twins, corruption=corruption, severity=4, seed=1).inputs
    assert torch.equal(first, second) == (corruption not in RANDOM)


@pytest.mark.parametrize(
    "corruption",
    ["gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "zoom_blur", "fog", "brightness", "contrast"],
)
def test_severities_grow(corruption):
    clean = split(8)
    change = [
        (corrupt(clean, corruption=corruption, severity=s).inputs.float() - clean.inputs).abs().mean().item()
        for s in range(1, 6)
    ]
    assert change == sorted(change)
    assert change[4] > 1.5 * change[0]


# --- each against its definition -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "std"), [(1, 0.04), (5, 0.1)])
def test_gaussian_noise_has_its_deviation(severity, std):
    noise = one(np.full((64, 64, 3), 0.5), "gaussian_noise", severity) - 0.5
    assert noise.std() == pytest.approx(std, rel=0.03)
    assert abs(noise.mean()) < 4 * std / np.sqrt(noise.size)


@pytest.mark.parametrize(("severity", "photons"), [(1, 500), (5, 50)])
@pytest.mark.parametrize("level", [0.1, 0.4])
def test_shot_noise_is_poisson(severity, photons, level):
    noisy = one(np.full((64, 64, 3), level), "shot_noise", severity)
    assert noisy.mean() == pytest.approx(level, rel=0.03)
    assert noisy.var() == pytest.approx(level / photons, rel=0.06)
    np.testing.assert_allclose(noisy * photons, (noisy * photons).round(), atol=1e-4)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (5, 0.07)])
def test_impulse_noise_sets_a_share_to_black_or_white(severity, share):
    noisy = one(np.full((96, 96, 3), 0.5), "impulse_noise", severity)
    assert set(np.unique(noisy)) == {0.0, 0.5, 1.0}
    for value in (0.0, 1.0):
        assert (noisy == value).mean() == pytest.approx(share / 2, rel=0.25)


@pytest.mark.parametrize(("severity", "radius", "sigma"), [(1, 0.3, 0.4), (3, 0.5, 0.6), (5, 1.5, 0.1)])
def test_defocus_blur_is_a_smoothed_disk(image, severity, radius, sigma):
    disk = np.array([[float(r * r + c * c <= radius**2) for c in range(-3, 4)] for r in range(-3, 4)])
    disk /= disk.sum()
    bell = np.array([np.exp(-0.5 * (k / sigma) ** 2) for k in (-1, 0, 1)])
    bell /= bell.sum()
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    expected = np.zeros_like(image)
    for r in range(-4, 5):
        for c in range(-4, 5):
            weight = sum(
                disk[r - i + 3, c - j + 3] * bell[i + 1] * bell[j + 1]
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if abs(r - i) <= 3 and abs(c - j) <= 3
            )
            expected += weight * padded[4 + r : 16 + r, 4 + c : 14 + c]
    np.testing.assert_allclose(one(image, "defocus_blur", severity), expected, atol=1e-6)


def test_glass_blur_takes_pixels_from_their_neighbors(image):
    function, _ = CORRUPTIONS["glass_blur"]
    out = function(image, np.random.default_rng(0), 0, 1)
    offsets = []
    for row in range(12):
        for column in range(10):
            ((r, c),) = np.argwhere((image == out[row, column]).all(axis=-1))
            offsets.append((row - r, column - c))
    assert set(offsets) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_motion_blur_is_a_one_sided_bell_along_a_line():
    point = np.zeros((41, 41, 1))
    point[20, 20] = 1
    for seed in range(5):
        function, _ = CORRUPTIONS["motion_blur"]
        out = function(point, np.random.default_rng(seed), 6, 2)[..., 0]
        angle = np.deg2rad(np.random.default_rng(seed).uniform(-45, 45))
        expected = np.zeros((41, 41))
        scale = 41 / 32
        weights = [np.exp(-0.5 * (k / (2 * scale)) ** 2) for k in range(2 * round(6 * scale) + 1)]
        for k, weight in enumerate(weights):
            expected[20 - round(k * np.sin(angle)), 20 - round(k * np.cos(angle))] += weight / sum(weights)
        np.testing.assert_allclose(out, expected, atol=1e-12)
        assert np.isclose(out.sum(), 1)


def test_zoom_blur_is_the_mean_of_zooms_about_the_center():
    row, column = np.indices((15, 15)) - 7.0
    linear = (0.5 + 0.02 * row - 0.03 * column)[..., None]  # a zoom of a linear image divides its slopes
    factors = [1 + 0.01 * k for k in range(11)]
    share = (1 + sum(1 / f for f in factors)) / (1 + len(factors))
    expected = (0.5 + share * (0.02 * row - 0.03 * column))[..., None]
    np.testing.assert_allclose(one(linear, "zoom_blur", 2), expected, atol=1e-6)


@pytest.mark.parametrize(
    "corruption", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "pixelate"]
)
def test_a_constant_image_has_nothing_to_blur(corruption):
    np.testing.assert_allclose(one(np.full((20, 24, 3), 0.3), corruption, 5), 0.3, atol=1e-6)


@pytest.mark.parametrize(("severity", "shift"), [(1, 0.05), (5, 0.3)])
def test_brightness_raises_the_value(image, severity, shift):
    image[0, 0] = 0
    expected = np.empty_like(image)
    for at in np.ndindex(12, 10):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[at])
        expected[at] = colorsys.hsv_to_rgb(hue, saturation, min(value + shift, 1))
    np.testing.assert_allclose(one(image, "brightness", severity), expected, atol=1e-6)


def test_contrast_shrinks_around_the_mean_of_each_channel(image):
    expected = image.mean((0, 1)) + 0.4 * (image - image.mean((0, 1)))
    np.testing.assert_allclose(one(image, "contrast", 3), expected, atol=1e-6)


def test_fog_is_a_landscape_from_zero_to_one():
    foggy = one(np.full((32, 32, 1), 0.6), "fog", 3)
    landscape = (foggy * (0.6 + 0.75) / 0.6 - 0.6) / 0.75
    assert landscape.min() == pytest.approx(0, abs=1e-6)
    assert landscape.max() == pytest.approx(1, abs=1e-6)
    assert np.diff(landscape, axis=0).std() < 0.5 * landscape.std()  # smooth: sqrt(2) for independent pixels


@pytest.mark.parametrize("corruption", ["snow", "frost"])
def test_winter_brightens_the_dark(corruption):
    out = one(np.zeros((32, 32, 3)), corruption, 4)
    assert out.mean() > 0.05
    assert out.std() > 0.02


def test_elastic_transform_moves_three_points():
    function, _ = CORRUPTIONS["elastic_transform"]
    row, column = np.indices((24, 24)) / 24
    coordinates = np.stack([row, column, row + column], axis=-1)  # an image that says where its pixels come from
    out = function(coordinates, np.random.default_rng(5), 0, 0, 0.05)[4:-4, 4:-4]
    np.testing.assert_allclose(out[..., 0] + out[..., 1], out[..., 2], atol=1e-12)
    for axis in (0, 1):
        np.testing.assert_allclose(np.diff(out, 2, axis=axis), 0, atol=1e-12)  # affine
    corners = np.array([[20, 20], [20, 4], [4, 4]])
    moved = corners + np.random.default_rng(5).uniform(-0.05 * 24, 0.05 * 24, size=(3, 2))
    slopes = np.stack([out[1, 0, :2] - out[0, 0, :2], out[0, 1, :2] - out[0, 0, :2]], axis=-1)
    sources = 24 * (out[0, 0, :2] + (moved - 4) @ slopes.T)  # where the moved points come from
    np.testing.assert_allclose(sources, corners, atol=1e-9)


def test_elastic_transform_without_strength_changes_nothing(image):
    function, _ = CORRUPTIONS["elastic_transform"]
    np.testing.assert_allclose(function(image, np.random.default_rng(0), 0, 0, 0), image, atol=1e-12)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.95), (5, 0.65)])
@pytest.mark.parametrize("size", [(12, 10), (32, 32), (8, 8)])
def test_pixelate_is_the_mean_of_blocks(severity, share, size):
    gray = np.random.default_rng(0).random(size)

    def blocks(num_pixels):
        """The block that each pixel's center falls into; and the block whose center a pixel is nearest to."""
        num_blocks = int(share * num_pixels)
        block = np.ceil((np.arange(num_pixels) + 0.5) * num_blocks / num_pixels).astype(int) - 1
        return [np.flatnonzero(block == k) for k in range(num_blocks)], block

    (rows, row_block), (columns, column_block) = blocks(size[0]), blocks(size[1])
    small = np.array([[gray[np.ix_(r, c)].mean() for c in columns] for r in rows])
    expected = small[np.ix_(row_block, column_block)]
    np.testing.assert_allclose(one(gray[..., None], "pixelate", severity)[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (5, 40)])
def test_jpeg_is_pillows(image, severity, quality):
    Image.fromarray((255 * image).round().astype(np.uint8)).save(file := io.BytesIO(), "JPEG", quality=quality)
    np.testing.assert_allclose(one(image, "jpeg_compression", severity), np.asarray(Image.open(file)) / 255, atol=1e-6)


# --- through load_data ---------------------------------------------------------------------------------------------


def test_a_set_with_its_test_part_corrupted():
    clean, data = load_data("digits"), load_data("digits-c", corruption="gaussian_noise", severity=3)
    assert (data.name, data.args) == ("digits-c", {"corruption": "gaussian_noise", "severity": 3, "seed": 0})
    assert torch.equal(data.train.inputs, clean.train.inputs)
    assert torch.equal(data.test.targets, clean.test.targets)
    change = (data.test.inputs - clean.test.inputs)[clean.test.inputs == 0.5]
    assert change.std() == pytest.approx(0.08, rel=0.1)
    assert torch.equal(load_data(data.name, **data.args).test.inputs, data.test.inputs)
    assert not torch.equal(load_data(data.name, **data.args | {"seed": 1}).test.inputs, data.test.inputs)


def test_any_set_of_images_can_be_corrupted(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(6, 9, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", x_train=images, y_train=np.arange(6), x_test=images, y_test=np.arange(6))
    data = load_data(f"npz-c:{tmp_path / 'set.npz'}", corruption="contrast", severity=1)
    expected = images.mean((1, 2), keepdims=True) + 0.75 * (images - images.mean((1, 2), keepdims=True))
    assert np.abs(data.test.inputs.permute(0, 2, 3, 1).numpy() - expected).max() < 0.51
    assert torch.equal(load_data(data.name, **data.args).test.inputs, data.test.inputs)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, r"data 'digits-c' needs corruption, severity\. Expected arguments: corruption, severity, seed, "),
        ({"corruption": "rain", "severity": 1}, "corruption 'rain' is unknown. Expected one of: gaussian_noise, "),
        ({"corruption": "fog", "severity": 0}, "severity=0 is out of range"),
        ({"corruption": "fog", "severity": 6}, "severity=6 is out of range"),
        ({"corruption": "fog", "severity": 1, "color": 1}, "data 'digits-c' does not take 'color'"),
    ],
)
def test_bad_arguments_are_refused(args, message):
    with pytest.raises(ValueError, match=message):
        load_data("digits-c", **args)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(2, 1, 7, 9), "at least 8×8"),
        (torch.zeros(2, 2, 8, 8), "gray or color"),
        (torch.zeros(2, 64), r"shape \(2, 64\)"),
        (torch.full((2, 1, 8, 8), -0.1), r"floats outside of \[0, 1\]"),
        (torch.full((2, 1, 8, 8), torch.nan), r"floats outside of \[0, 1\]"),
    ],
)
def test_what_is_no_image_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        corrupt(Split(inputs, torch.zeros(2, dtype=torch.long)), corruption="fog", severity=1)

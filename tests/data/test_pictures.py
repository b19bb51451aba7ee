"""Images in files: decoded when asked for, alike by any number of workers; resized and cropped as said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import DataError, Split, load_data
from landscape.data.pictures import MEAN, STD, Pictures, _random_box, decoded
from landscape.fingerprint import of_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of many sizes, two of them gray."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for index in range(12):
            file = tmp_path / part / ("ant", "bee", "cat")[index % 3] / f"{index:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shape = (*rng.integers(20, 60, size=2), 3)[: 2 if index % 6 == 0 else 3]
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(file)
    return tmp_path


def center(file: Path, size: int) -> np.ndarray:
    """Resized to 256 / 224 of the size at the shorter side, the center cut out."""
    with Image.open(file) as image:
        picture = image.convert("RGB")
    short = round(size * 256 / 224)
    w, h = picture.size
    new = (short, round(h * short / w)) if w < h else (round(w * short / h), short)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    resized = picture.resize(new, Image.Resampling.BILINEAR)
    return np.asarray(resized)[top : top + size, left : left + size].transpose(2, 0, 1)


def test_a_folder_with_a_size_reads_its_images_when_they_are_asked_for(root: Path) -> None:
    data = load_data(f"folder:{root}", size=16)
    assert isinstance(data.train, Pictures)
    assert (data.name, data.args) == ("folder", {"path": str(root), "size": 16})
    assert (data.num_classes, data.input_shape, len(data.train), len(data.test)) == (3, (3, 16, 16), 12, 12)
    assert data.test.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    files = sorted(root.glob("val/*/*"))
    batches = data.test.batches(5)
    assert [len(targets) for _, targets in batches] == [5, 5, 2]
    expected = torch.from_numpy(np.stack([center(file, 16) for file in files]))
    plain = Split(expected, data.test.targets, MEAN, STD)
    for (inputs, targets), (plain_inputs, plain_targets) in zip(batches, plain.batches(5), strict=True):
        assert torch.equal(inputs, plain_inputs)
        assert torch.equal(targets, plain_targets)
    again = load_data(data.name, **data.args)
    assert (
        of_data(again.test.batches()) == of_data(batches) != of_data(load_data(f"folder:{root}", size=8).test.batches())
    )


def test_samples_and_validation_parts_are_not_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_data(f"folder:{root}", size=16)
    monkeypatch.setattr("landscape.data.pictures.read_picture", lambda _: pytest.fail("decoded"))
    data = load_data(f"folder:{root}", size=16, validation=0.25, num_train=6, label_noise=0.5)
    monkeypatch.undo()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 3, "test": 12}
    assert isinstance(data.train, Pictures)
    assert isinstance(data.validation, Pictures)
    parts = [set(split.files.paths) for split in (data.train, data.validation)]
    assert not parts[0] & parts[1]
    assert isinstance(whole.train, Pictures)
    assert parts[0] | parts[1] < set(whole.train.files.paths)
    sample = whole.test.sample(3, seed=0)
    assert sample.targets.tolist() == [0, 1, 2]
    assert sample.batches()[0][0].shape == (3, 3, 16, 16)


@pytest.mark.parametrize("seeds", [None, [(1, 0), (1, 1), (1, 2)]])
def test_any_number_of_workers_reads_the_same(root: Path, seeds: list[tuple[int, int]] | None) -> None:
    split = load_data(f"folder:{root}", size=16).train
    assert isinstance(split, Pictures)
    batches = [torch.tensor([3, 1]), torch.tensor([0, 5, 7]), torch.tensor([11])]
    before = torch.get_rng_state()
    one, two = (list(decoded(split.files, batches, seeds=seeds, smallest=0.08, workers=workers)) for workers in (0, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    later = list(decoded(split.files, batches[1:], seeds=seeds and seeds[1:], smallest=0.08, workers=1))
    assert all(torch.equal(a, b) for a, b in zip(one[1:], later, strict=True))
    if seeds is None:
        assert torch.equal(one[1], split.inputs[batches[1]])
    else:
        assert not torch.equal(one[1], split.inputs[batches[1]])


def test_random_parts_have_the_area_and_the_shape_that_is_said() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([_random_box(400, 300, rng, 0.08) for _ in range(4000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 400
    assert boxes[:, 3].max() <= 300
    share, shape = width * height / 120_000, width / height
    assert share.min() > 0.078
    assert share.max() <= 1
    assert 0.73 < shape.min() < 0.77
    assert 1.31 < shape.max() < 1.36
    assert abs(np.log(shape)[share < 0.5].mean()) < 0.02  # where none is too wide
    assert _random_box(1000, 10, rng, 0.9) == (493, 0, 506, 10)  # no such part: the largest center of shape 4:3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_in_one_line_where_it_is_read(root: Path, workers: int) -> None:
    file = sorted(root.glob("train/*/*"))[5]
    file.write_bytes(b"text")
    split = load_data(f"folder:{root}", size=16).train
    assert isinstance(split, Pictures)
    with pytest.raises(DataError, match=rf"{file.name}: is damaged, .*Copy it again, or remove it\.$") as error:
        list(decoded(split.files, [torch.tensor([5])], workers=workers))
    assert "\n" not in str(error.value)


def test_what_is_read_when_asked_for_is_not_corrupted(root: Path) -> None:
    with pytest.raises(ValueError, match=r"read when they are asked for are not corrupted here\. Leave size out\."):
        load_data(f"folder-c:{root}", size=16, corruption="fog", severity=1)
    with pytest.raises(ValueError, match=r"size=-1 is out of range"):
        load_data(f"folder:{root}", size=-1)

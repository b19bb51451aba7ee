from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landscape.data import DataError, load_data
from tests.data.files import Part, assert_is, part

CLASSES = ("ant", "bee", "cat")


def write(folder: Path, images: Part) -> Part:
    """One .png an image; returns the images in the order in which they are to be read."""
    for index, (image, label) in enumerate(zip(*images, strict=True)):
        file = folder / CLASSES[label] / f"{index:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    order = np.argsort(images[1], kind="stable")
    return images[0][order], images[1][order]


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5)], ids=["color", "gray"])
@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_images_are_read_class_by_class(tmp_path, shape, test_name):
    train = write(tmp_path / "train", part(7, seed=1, num_classes=3, shape=shape))
    test = write(tmp_path / test_name, part(4, seed=2, num_classes=2, shape=shape))
    (tmp_path / "train" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not an image")
    data = load_data(f"folder:{tmp_path}")
    assert_is(data, train, test)
    assert (data.num_classes, data.input_shape) == (3, (3 if len(shape) == 3 else 1, 6, 5))
    assert_is(load_data(data.name, **data.args), train, test)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("train", "test"):
        write(tmp_path / name, part(3, seed=1, num_classes=3, shape=(6, 5, 3)))
    return tmp_path


def test_other_modes_become_color(root):
    file = next((root / "train" / "bee").iterdir())
    with Image.open(file) as image:
        palette = image.convert("P")
    palette.save(file)
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(load_data(f"folder:{root}").train.inputs[1].numpy(), expected)


def test_a_damaged_image_is_named(root):
    file = next((root / "test" / "cat").iterdir())
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:40], whole[:60], whole[:41] + b"\0" + whole[42:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{file.name}: is damaged, .*Copy it again, or remove it\.$"):
            load_data(f"folder:{root}")


def test_an_image_of_another_size_is_named(root):
    file = next((root / "train" / "cat").iterdir())
    Image.new("RGB", (4, 4)).save(file)
    with pytest.raises(DataError, match=rf"{file.name}: has shape \(3, 4, 4\)\. Expected \(3, 6, 5\)"):
        load_data(f"folder:{root}")


def test_a_class_of_test_alone_is_refused(root):
    (root / "test" / "cat").rename(root / "test" / "dog")
    with pytest.raises(DataError, match=r"dog: is a class that train/ does not have\. Expected ant, bee, cat\."):
        load_data(f"folder:{root}")


def test_folders_without_images_are_refused(root):
    for file in (root / "test").glob("*/*"):
        file.unlink()
    with pytest.raises(DataError, match=r"test: has no images"):
        load_data(f"folder:{root}")

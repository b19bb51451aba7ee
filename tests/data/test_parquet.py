import importlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from landscape.data import DataError, load_data
from tests.data.files import Part, assert_is, part

TRAIN, TEST = part(23, seed=1), part(10, seed=2)


@pytest.fixture
def arrow() -> Any:
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: parquet)")
    return importlib.import_module("pyarrow")


def encoded(images: np.ndarray) -> list[dict[str, Any]]:
    files = []
    for index, image in enumerate(images):
        Image.fromarray(image).save(file := io.BytesIO(), "PNG")
        files.append({"bytes": file.getvalue(), "path": f"{index}.png"})
    return files


def write(arrow: Any, file: Path, images: Part, image_column: str = "img", label_column: str = "label") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {image_column: encoded(images[0]), label_column: images[1].tolist(), "name": ["x"] * len(images[1])}
    arrow.parquet.write_table(arrow.table(columns), file, row_group_size=5)


def write_both(arrow: Any, folder: Path, **names: str) -> None:
    write(arrow, folder / "train-00000-of-00002.parquet", (TRAIN[0][:14], TRAIN[1][:14]), **names)
    write(arrow, folder / "train-00001-of-00002.parquet", (TRAIN[0][14:], TRAIN[1][14:]), **names)
    write(arrow, folder / "test-00000-of-00001.parquet", TEST, **names)


@pytest.mark.parametrize("inside", [".", "plain_text"])
@pytest.mark.parametrize("name", ["parquet", "cifar10"])
def test_files_of_a_part_are_read_in_order(arrow, tmp_path, name, inside):
    write_both(arrow, tmp_path / inside)
    data = load_data(f"{name}:{tmp_path}")
    assert_is(data, TRAIN, TEST)
    assert (data.name, data.num_classes, data.input_shape) == (name, 10, (3, 32, 32))
    assert_is(load_data(data.name, **data.args), TRAIN, TEST)


def test_cifar100_is_read_with_its_fine_labels(arrow, tmp_path):
    write_both(arrow, tmp_path / "cifar100", image_column="image", label_column="fine_label")
    data = load_data("cifar100", path=tmp_path)
    assert_is(data, TRAIN, TEST)
    assert data.num_classes == 100


def test_validation_stands_in_for_test(arrow, tmp_path):
    write_both(arrow, tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").rename(tmp_path / "validation.parquet")
    assert_is(load_data(f"parquet:{tmp_path}"), TRAIN, TEST)
    (tmp_path / "validation.parquet").unlink()
    with pytest.raises(DataError, match=r"has no test\*\.parquet or validation\*\.parquet"):
        load_data(f"parquet:{tmp_path}")


def test_two_sets_in_one_folder_are_not_guessed_at(arrow, tmp_path):
    write_both(arrow, tmp_path / "a")
    write_both(arrow, tmp_path / "b")
    with pytest.raises(DataError, match=r"in a, b\. Give the path of one of them\."):
        load_data(f"parquet:{tmp_path}")


def test_damaged_files_are_named(arrow, tmp_path):
    write_both(arrow, tmp_path)
    file = tmp_path / "test-00000-of-00001.parquet"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for content in (b"", b"text", *(whole[:cut] for cut in rng.integers(len(whole), size=20))):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{file.name}: is damaged.*Copy or download it again\.$"):
            load_data(f"parquet:{tmp_path}")
    for index in rng.integers(len(whole), size=40):
        file.write_bytes(whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :])
        try:
            load_data(f"parquet:{tmp_path}")
        except DataError as error:
            message = str(error)
        else:
            message = ""
        assert "\n" not in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"img": [b"x"], "label": [1]}, "has columns img, label. Expected images with their bytes"),
        ({"img": encoded(TEST[0][:1]), "class": [1]}, "whole numbers called label or fine_label"),
        ({"img": encoded(TEST[0][:1]), "label": ["one"]}, "whole numbers called label or fine_label"),
        ({"img": encoded(TEST[0][:1]), "label": [None]}, "whole numbers"),
        ({"img": [{"path": "x.png"}], "label": [1]}, "images with their bytes"),
        ({"img": encoded(TEST[0][:1]) * 2, "label": [1, None]}, "without a label"),
        ({"img": [{"bytes": b"no image", "path": ""}], "label": [1]}, "is damaged"),
        ({"img": encoded(TEST[0][:1]) + encoded(TEST[0][:1, :8]), "label": [1, 1]}, "Expected one shape"),
    ],
)
def test_other_contents_are_refused(arrow, tmp_path, columns, message):
    write_both(arrow, tmp_path)
    arrow.parquet.write_table(arrow.table(columns), tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=message):
        load_data(f"parquet:{tmp_path}")


@pytest.mark.parametrize("name", ["parquet", "cifar10"])
def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch, name):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'^parquet files need pyarrow: pip install "landscape-geometry\[parquet\]"\.$'):
        load_data(f"{name}:{tmp_path}")

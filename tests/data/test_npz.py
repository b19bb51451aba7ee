import numpy as np
import pytest

from landscape.data import DataError, load_data
from tests.data.files import assert_is, part

TRAIN, TEST = part(20, seed=1, shape=(9, 8)), part(10, seed=2, shape=(9, 8))
KERAS = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*TRAIN, *TEST), strict=True))


def test_the_names_of_keras(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", **KERAS, more=[1])
    data = load_data(f"npz:{tmp_path / 'set.npz'}")
    assert_is(data, TRAIN, TEST)
    assert (data.name, data.input_shape, data.num_classes) == ("npz", (1, 9, 8), 10)
    assert_is(load_data(data.name, **data.args), TRAIN, TEST)


def test_the_names_of_medmnist(tmp_path):
    names = ("train_images", "train_labels", "test_images", "test_labels")
    labels = (TRAIN[0], TRAIN[1][:, None], TEST[0], TEST[1][:, None])
    np.savez(tmp_path / "set.npz", **dict(zip(names, labels, strict=True)), val_images=TEST[0])
    assert_is(load_data("npz", path=tmp_path / "set.npz"), TRAIN, TEST)


def test_a_relative_file_is_found_under_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path))
    np.savez(tmp_path / "set.npz", **KERAS)
    assert_is(load_data("npz:set.npz"), TRAIN, TEST)


def test_damage_is_a_data_error(tmp_path):
    file = tmp_path / "set.npz"
    np.savez_compressed(file, **KERAS)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(len(whole), size=40):
        file.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"^\S*set\.npz: .*Write it with numpy\.savez"):
            load_data(f"npz:{file}")
    seen: list[str] = []
    for index in rng.integers(len(whole), size=200):
        file.write_bytes(whole[:index] + bytes([rng.integers(256)]) + whole[index + 1 :])
        try:
            load_data(f"npz:{file}")
        except DataError as error:
            seen.append(str(error))
    assert len(seen) > 100
    assert all(message.startswith(str(file)) and "\n" not in message for message in seen)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": TRAIN[0]}, "holds images"),
        ({}, "holds nothing"),
        (KERAS | {"y_train": np.array([None] * 20)}, "an array of object"),
        (KERAS | {"x_test": TEST[0][:, :5]}, r"shape \(1, 5, 8\)"),
        (KERAS | {"y_test": TEST[1][:, None, None]}, r"labels of shape \(10, 1, 1\)"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_data(f"npz:{tmp_path / 'set.npz'}")


def test_a_single_array_is_refused(tmp_path):
    with (tmp_path / "set.npz").open("wb") as file:
        np.save(file, TRAIN[0])
    with pytest.raises(DataError, match="is one array"):
        load_data(f"npz:{tmp_path / 'set.npz'}")

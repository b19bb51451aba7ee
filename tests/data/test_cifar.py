import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.data import DataError, load_data
from tests.data.files import array, assert_is, cifar_pickle, part, write_cifar10_pickles

TRAIN, TEST = part(25, seed=1), part(10, seed=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cifar10_pickles(tmp_path / "cifar-10-batches-py", TRAIN, TEST)
    return tmp_path / "cifar-10-batches-py"


def test_the_writer_of_these_tests_writes_what_numpy_reads():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy's old names
        batch = pickle.loads(cifar_pickle(TEST[0], {b"labels": TEST[1]}), encoding="bytes")
    assert np.array_equal(batch[b"data"], TEST[0].transpose(0, 3, 1, 2).reshape(10, -1))
    assert batch[b"labels"] == TEST[1].tolist()


@pytest.mark.parametrize("where", [".", "cifar-10-batches-py"])
def test_pickles_are_read(folder, where):
    data = load_data(f"cifar10:{folder.parent / where}")
    assert_is(data, TRAIN, TEST)
    assert (data.name, data.num_classes, data.input_shape) == ("cifar10", 10, (3, 32, 32))
    assert_is(load_data(data.name, **data.args), TRAIN, TEST)
    np.testing.assert_allclose(data.train.mean, TRAIN[0].mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(data.train.std, TRAIN[0].std((0, 1, 2)) / 255, rtol=1e-12)


def test_a_relative_path_is_found_again_from_anywhere(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    data = load_data("cifar10:cifar-10-batches-py")
    monkeypatch.chdir(folder)
    assert_is(load_data(data.name, **data.args), TRAIN, TEST)


@pytest.mark.parametrize("name", ["cifar10", "cifar-10-batches-py"])
def test_it_is_found_under_the_root(folder, monkeypatch, name):
    folder.rename(folder.parent / name)
    monkeypatch.setenv("LANDSCAPE_DATA", str(folder.parent))
    data = load_data("cifar10")
    assert_is(data, TRAIN, TEST)
    assert data.args == {}
    if name == "cifar10":
        assert_is(load_data("cifar10:cifar10"), TRAIN, TEST)


def test_npz(tmp_path):
    np.savez(tmp_path / "cifar10.npz", x_train=TRAIN[0], y_train=TRAIN[1], x_test=TEST[0], y_test=TEST[1])
    assert_is(load_data(f"cifar10:{tmp_path}"), TRAIN, TEST)
    assert_is(load_data(f"cifar10:{tmp_path / 'cifar10.npz'}"), TRAIN, TEST)


def test_cifar100_has_the_fine_classes(tmp_path):
    train, test = part(200, seed=1, num_classes=100), part(100, seed=2, num_classes=100)
    for name, (images, labels) in (("train", train), ("test", test)):
        content = cifar_pickle(images, {b"coarse_labels": labels // 5, b"fine_labels": labels})
        (tmp_path / name).write_bytes(content)
    data = load_data("cifar100", path=tmp_path)
    assert_is(data, train, test)
    assert data.num_classes == 100


def test_classes_that_a_small_part_lacks_are_counted(tmp_path):
    np.savez(tmp_path / "cifar10.npz", x_train=TEST[0], y_train=np.zeros(10, int), x_test=TEST[0], y_test=TEST[1] % 3)
    assert load_data(f"cifar10:{tmp_path}").num_classes == 10


def test_images_of_another_size_are_refused(tmp_path):
    small = np.zeros((2, 28, 28), np.uint8)
    np.savez(tmp_path / "cifar10.npz", x_train=small, y_train=[0, 1], x_test=small, y_test=[0, 1])
    with pytest.raises(DataError, match=r"has images of shape \(1, 28, 28\)\. cifar10 has \(3, 32, 32\)\."):
        load_data(f"cifar10:{tmp_path}")


def test_a_missing_file_is_named(folder):
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match=r"data_batch_4: is missing\. Unpack cifar-10-python\.tar\.gz again\.$"):
        load_data(f"cifar10:{folder}")


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pickle_is_refused_and_not_run(folder, tmp_path):
    mark = tmp_path / "ran"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / "data_batch_2").write_bytes(pickle.dumps({1: _Runs(mark)}, protocol=protocol))
        with pytest.raises(DataError, match=r"data_batch_2: .*it would import .*mkdir"):
            load_data(f"cifar10:{folder}")
    assert not mark.exists()


@pytest.mark.parametrize("name", [b"numpy\nsave\n", b"builtins\neval\n", b"numpy.core.multiarray\nfromstring\n"])
def test_nothing_else_is_imported(folder, name):
    (folder / "test_batch").write_bytes(b"\x80\x02c" + name + b".")
    with pytest.raises(DataError, match=f"it would import {name.decode().strip().replace(chr(10), '.')}"):
        load_data(f"cifar10:{folder}")


def test_an_array_of_objects_is_refused_before_numpy_sees_it(folder):
    forged = b"\x80\x02}(" + b"T\x04\x00\x00\x00data" + array(np.zeros((2, 3072), np.uint8), code=b"O8") + b"u."
    (folder / "test_batch").write_bytes(forged)
    with pytest.raises(DataError, match=r"an array of b'O8', where bytes are expected"):
        load_data(f"cifar10:{folder}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": 3, b"labels": []}),
        cifar_pickle(TEST[0], {}),
        cifar_pickle(TEST[0], {b"labels": TEST[1][:-1]}),
        cifar_pickle(TEST[0][:, :16], {b"labels": TEST[1]}),
        b"\x80\x02}(T\x04\x00\x00\x00datacnumpy\nndarray\n)Ru.",
    ],
    ids=["empty", "text", "list", "number", "no labels", "a label short", "half images", "no state"],
)
def test_damaged_batches_are_refused(folder, content):
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_1: .*Unpack cifar-10-python\.tar\.gz again\.$") as caught:
        load_data(f"cifar10:{folder}")
    assert "\n" not in str(caught.value)


def test_no_damage_makes_anything_but_a_data_error(tmp_path):
    folder = tmp_path / "small"
    write_cifar10_pickles(folder, part(5, seed=1), part(2, seed=2))
    whole = (folder / "test_batch").read_bytes()
    rng = np.random.default_rng(0)
    for cut in [*range(0, 300, 2), *rng.integers(len(whole), size=20)]:
        (folder / "test_batch").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            load_data(f"cifar10:{folder}")
    structure = [i for i in range(len(whole)) if i < 260 or i > len(whole) - 120]  # not the pixels
    for index in structure:
        (folder / "test_batch").write_bytes(whole[:index] + bytes([rng.integers(256)]) + whole[index + 1 :])
        try:
            data = load_data(f"cifar10:{folder}")
        except DataError:
            continue
        assert data.test.inputs.shape[1:] == (3, 32, 32)
        assert data.test.targets.dtype == torch.int64

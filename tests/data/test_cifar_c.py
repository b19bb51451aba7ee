from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.data import DataError, load_data
from tests.data.files import part, write_cifar10_pickles

TRAIN, TEST = part(25, seed=1), part(10, seed=2)
CORRUPTED = np.random.default_rng(3).integers(256, size=(50, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cifar10_pickles(tmp_path / "cifar-10-batches-py", TRAIN, TEST)
    (tmp_path / "CIFAR-10-C").mkdir()
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", CORRUPTED)
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", np.tile(TEST[1], 5).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_severity_is_a_fifth_of_the_file(root, severity):
    data = load_data(f"cifar10-c:{root / 'CIFAR-10-C'}", corruption="fog", severity=severity)
    expected = CORRUPTED[10 * (severity - 1) : 10 * severity].transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.inputs.numpy(), expected)
    assert np.array_equal(data.test.targets.numpy(), TEST[1])
    assert (data.test.inputs.dtype, data.test.targets.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(data.train.inputs.numpy(), TRAIN[0].transpose(0, 3, 1, 2))
    assert (data.test.mean, data.test.std) == (data.train.mean, data.train.std)
    assert (data.name, data.num_classes) == ("cifar10-c", 10)
    assert torch.equal(load_data(data.name, **data.args).test.inputs, data.test.inputs)


def test_it_is_found_under_the_root(root, monkeypatch):
    monkeypatch.setenv("LANDSCAPE_DATA", str(root))
    data = load_data("cifar10-c", corruption="fog", severity=2)
    assert np.array_equal(data.test.inputs.numpy(), CORRUPTED[10:20].transpose(0, 3, 1, 2))
    assert data.args == {"corruption": "fog", "severity": 2}


def test_the_clean_images_may_lie_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "cifar-10-batches-py").rename(elsewhere / "mine")
    with pytest.raises(DataError, match=r"^cifar10: not found in .*cifar10 or .*cifar-10-batches-py\. Expected"):
        load_data(f"cifar10-c:{root / 'CIFAR-10-C'}", corruption="fog", severity=1)
    data = load_data("cifar10-c", path=root / "CIFAR-10-C", clean=elsewhere / "mine", corruption="fog", severity=1)
    assert torch.equal(load_data(data.name, **data.args).train.inputs, data.train.inputs)


def test_missing_and_damaged_files_are_named(root):
    folder = root / "CIFAR-10-C"
    with pytest.raises(DataError, match=r"snow\.npy: is missing\. Unpack CIFAR-10-C\.tar from https://zenodo"):
        load_data(f"cifar10-c:{folder}", corruption="snow", severity=1)
    (folder / "fog.npy").write_bytes((folder / "fog.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"fog\.npy: is damaged"):
        load_data(f"cifar10-c:{folder}", corruption="fog", severity=1)
    labels = np.tile(TEST[1], 5).astype(np.uint8)
    for images, classes in ((CORRUPTED[:45], labels), (CORRUPTED, labels + 1), (CORRUPTED / 255, labels)):
        np.save(folder / "fog.npy", images)
        np.save(folder / "labels.npy", classes)
        with pytest.raises(DataError, match=r"fog\.npy and labels\.npy do not belong together"):
            load_data(f"cifar10-c:{folder}", corruption="fog", severity=1)


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_severity_out_of_range(root, severity):
    with pytest.raises(ValueError, match=f"severity={severity} is (out of range|of type float)"):
        load_data(f"cifar10-c:{root / 'CIFAR-10-C'}", corruption="fog", severity=severity)

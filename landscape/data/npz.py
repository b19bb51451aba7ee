"""Images from one .npz file of numpy arrays: x_train, y_train, x_test and y_test, as Keras names them.

Or, as MedMNIST does, train_images, train_labels, test_images and test_labels.
Images are (n, height, width), or have 1 or 3 channels last or second; uint8 are pixels, floats are what networks read.
Labels are whole numbers from 0, of shape (n,) or (n, 1). Arrays of objects are refused: they are pickles.
"""

from pathlib import Path

from landscape.data.arrays import Labelled, channels_first, from_arrays
from landscape.data.places import DataError, Where, found_again, places, read_first, reading
from landscape.data.split import Data
from landscape.readers import array_names, read_arrays

_NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_REMEDY = "Write it with numpy.savez(PATH, x_train=..., y_train=..., x_test=..., y_test=...)."


def npz(*, path: Where = None) -> Data:
    """Load an .npz file.

    Args:
        path: the file; a relative one is looked for under LANDSCAPE_DATA too.

    Raises:
        DataError: it is not there, damaged, or holds other arrays.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "set.npz")
        ...     images, labels = np.zeros((2, 8, 8), np.uint8), np.array([0, 1])
        ...     np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
        ...     npz(path=file).input_shape
        (1, 8, 8)
    """
    file, _ = read_first("npz", places("npz", path), Path.is_file, f"an .npz file. {_REMEDY}")
    return from_arrays("npz", found_again(path, file), *read_npz(file))


def read_npz(file: Path) -> tuple[Labelled, Labelled]:
    """Read the train and the test part of an .npz file.

    Raises:
        DataError: it is missing, damaged, or holds other arrays.
    """
    with reading(file, _REMEDY):
        there = array_names(file, _REMEDY)
        names = next((names for names in _NAMES if set(names) <= set(there)), None)
        if names is None:
            raise DataError(f"{file}: holds {', '.join(there) or 'nothing'}. {_REMEDY}")
        x_train, y_train, x_test, y_test = read_arrays(file, names, _REMEDY).values()
    train, test = (
        Labelled(channels_first(x, file), y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, file)
        for x, y in ((x_train, y_train), (x_test, y_test))
    )
    return train, test

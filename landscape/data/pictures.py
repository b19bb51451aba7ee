"""Images in the usual compressed formats (PNG, JPEG, ...) as arrays, by Pillow; gray ones have one channel."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

# What Pillow raises on bytes that make no sense, beside OSError.
MALFORMED = (SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_picture(source: Path | BinaryIO) -> np.ndarray:
    """Decode an image into uint8 pixels (channels, height, width): one channel if it is gray, else red, green, blue.

    Raises:
        OSError: it cannot be read or decoded; or one of `MALFORMED`.

    Example:
        >>> import io
        >>> Image.new("RGB", (5, 4), "red").save(file := io.BytesIO(), "PNG")
        >>> read_picture(file)[:, 0, 0], read_picture(file).shape
        (array([255,   0,   0], dtype=uint8), (3, 4, 5))
    """
    with Image.open(source) as image:
        pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

"""The shapes of images that networks accept."""

from collections.abc import Sequence


def require_images(input_shape: Sequence[int], *, smallest: int = 1, patch: int = 1) -> None:
    """Refuse examples that are not images, that are too small, or that are not cut into whole patches.

    Args:
        input_shape: should be (channels, height, width).
        smallest: least height and width, in pixels.
        patch: side of the squares into which images are cut.

    Raises:
        ValueError: saying which shape is expected.

    Example:
        >>> require_images((3, 32, 32), smallest=32)
        >>> require_images((1, 8, 8), smallest=32)
        Traceback (most recent call last):
        ValueError: input_shape=(1, 8, 8) is not accepted. Expected (channels, height, width) of at least 32×32 pixels.
    """
    sides = input_shape[1:]
    if len(input_shape) != 3 or min(sides) < smallest or any(side % patch for side in sides):
        raise ValueError(
            f"input_shape={tuple(input_shape)} is not accepted. Expected (channels, height, width) of at least "
            f"{smallest}×{smallest} pixels{f', in multiples of {patch}' if patch > 1 else ''}."
        )

"""What the numbers of an image mean: uint8, where white is 255, or floating point, where white is 1.

Pictures of 8 bits stay uint8 from the file to the network. Pictures of 16 bits are float32, and so are inputs with
values below black or above white, which noise leaves that is neither clipped nor rounded.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8] | NDArray[np.float32]
"""RGB, (H, W, 3): uint8, or float32 with white at 1, possibly beyond [0, 1]."""


def to_float(image: Image) -> NDArray[np.float32]:
    """Return an image as float32 with white at 1; nothing is clipped."""
    if image.dtype == np.uint8:
        return np.divide(image, np.float32(255), dtype=np.float32)
    return np.asarray(image, np.float32)


def to_8_bit(image: Image) -> NDArray[np.uint8]:
    """Return an image as uint8: floating point is clipped to [0, 1] and rounded."""
    if image.dtype == np.uint8:
        return image
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

"""The two types of images: uint8, where white is 255, and float32, where white is 1.

Images of 8 bits stay uint8 from the file to the network. Images of 16 bits are float32, and so are inputs with noise
that is neither clipped nor rounded, whose values may lie below black or above white.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8] | NDArray[np.float32]
"""An RGB image, (H, W, 3): uint8, or float32 with white at 1, possibly beyond [0, 1]."""


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

"""The application of degradations, of which some need 8-bit images and others work in floating point."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from daair.data.degradations.ranges import Degradation
from daair.pixels import Image, to_8_bit

F = TypeVar("F", bound=Callable)


def in_floats(function: F) -> F:
    """Mark a degradation that takes uint8 or float32, and may return float32 with white at 1."""
    function.in_floats = True
    return function


def degraded(image: Image, degrade: Degradation, rng: np.random.Generator) -> Image:
    """Apply a degradation; one that is not marked with `in_floats` receives the image as uint8.

    Args:
        image: Clean image, uint8 or float32, (H, W, 3).
        degrade: A function `(image, rng) -> image`, or a partial of one.
        rng: Random generator.

    Returns:
        Degraded image of the same shape: uint8, or float32 if the degradation is marked.

    Raises:
        ValueError: The degradation did not return such an image.
    """
    floats = getattr(getattr(degrade, "func", degrade), "in_floats", False)
    given = image if floats else to_8_bit(image)
    made = degrade(given, rng)
    shape, kind = getattr(made, "shape", None), getattr(made, "dtype", type(made).__name__)
    if shape != given.shape or kind not in ((np.uint8, np.float32) if floats else (np.uint8,)):
        raise ValueError(f"returned {kind} of shape {shape} for {given.dtype} of shape {given.shape}")
    return made

"""Conversion between linear light, which a sensor measures, and sRGB grey levels (IEC 61966-2-1).

Exposure, motion blur and sensor noise act on linear light. The sRGB curve replaces the camera's response, which is
unknown; the gamma of 2.2 that GoPro's authors used (Nah et al., CVPR 2017) differs from it by at most 0.008.
"""

import numpy as np
from numpy.typing import NDArray

from daair.data.degradations.ranges import Image

STEPS = 2**16
"""Number of entries of the encoding table; each of the darkest grey levels, where the curve is steepest, has 20."""


def srgb_to_linear(value: NDArray) -> NDArray:
    """Convert sRGB values in [0, 1] to linear light in [0, 1]."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: NDArray) -> NDArray:
    """Convert linear light in [0, 1] to sRGB values in [0, 1]."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


LIGHT = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light of each grey level, float32, (256,)."""

_ENCODED = np.rint(255 * linear_to_srgb(np.arange(STEPS) / (STEPS - 1))).astype(np.uint8)


def encode(light: NDArray[np.float32]) -> Image:
    """Convert linear light of any shape, clipped to [0, 1], to rounded grey levels; `light` is overwritten."""
    light *= np.float32(STEPS - 1)
    light += np.float32(0.5)
    np.clip(light, 0, STEPS - 1, out=light)
    return _ENCODED[light.astype(np.uint16)]

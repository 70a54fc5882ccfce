"""Conversion between linear light, which a sensor counts, and the grey levels of picture files (IEC 61966-2-1, sRGB).

Light adds up and is attenuated in linear light only; motion is averaged and noise arises there. The sRGB curve stands
for the camera's own response, which is unknown; gamma 2.2 of GoPro's authors (Nah et al., CVPR 2017) is within 0.008
of it.
"""

import numpy as np
from numpy.typing import NDArray

from daair.data.degradations.ranges import Image

STEPS = 2**16
"""Entries of the encoding table; each of the darkest grey levels, where the curve is steepest, has 20 of them."""


def srgb_to_linear(value: NDArray) -> NDArray:
    """Return linear light in [0, 1] of sRGB values in [0, 1]."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: NDArray) -> NDArray:
    """Return sRGB values in [0, 1] of linear light in [0, 1]."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


LIGHT = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light of each grey level, float32, (256,)."""

_ENCODED = np.rint(255 * linear_to_srgb(np.arange(STEPS) / (STEPS - 1))).astype(np.uint8)


def encode(light: NDArray[np.float32]) -> Image:
    """Turn linear light of any shape into grey levels, clipped to [0, 1] and rounded; `light` is overwritten."""
    light *= np.float32(STEPS - 1)
    light += np.float32(0.5)
    np.clip(light, 0, STEPS - 1, out=light)
    return _ENCODED[light.astype(np.uint16)]

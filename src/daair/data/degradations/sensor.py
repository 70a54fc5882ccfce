"""The sensor's faults: white Gaussian noise."""

from collections.abc import Sequence

import numpy as np

from daair.data.degradations.ranges import Image, Level, Levels


def noise(image: Image, rng: np.random.Generator, *, sigma: Level | Levels) -> Image:
    """Adds white Gaussian noise as the all-in-one papers do: on the 8-bit scale, clipped, then *truncated* to 8 bits.

    Truncation (not rounding) makes the mean half a grey level darker. AirNet and PromptIR train and test like this,
    so figures are comparable only if it is kept.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        sigma: Standard deviation in grey levels of 255; a pair is a range, from which every image draws its own
            ("blind" training; DnCNN, Zhang et al., TIP 2017, took 0 to 55).

    Returns:
        Noisy image, uint8, (H, W, 3).
    """
    deviation = rng.uniform(*sigma) if isinstance(sigma, Sequence) else sigma
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(deviation)
    noisy += image
    np.clip(noisy, 0, 255, out=noisy)
    return noisy.astype(np.uint8)

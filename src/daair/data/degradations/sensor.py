"""Degradations by the sensor: white Gaussian noise, and too little light."""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from daair import pixels
from daair.data.degradations.depth import in_floats
from daair.data.degradations.ranges import Exposures, Image, Lengths, Level, Levels, Units, log_uniform
from daair.data.degradations.transfer import LIGHT, encode


def noise(image: Image, rng: np.random.Generator, *, sigma: Level | Levels, table: bool = False) -> Image:
    """Add white Gaussian noise as the all-in-one papers do: on the 8-bit scale, clipped, then *truncated* to 8 bits.

    Truncation instead of rounding makes the mean half a grey level darker. AirNet and PromptIR train and test in this
    way, so results are only comparable with it.

    Args:
        sigma: Standard deviation in grey levels of 255. A pair is a range from which each call draws a value, as for
            blind denoising (DnCNN, Zhang et al., TIP 2017, has 0 to 55).
        table: Whether to draw from 65,536 equally likely quantiles, which takes a fifth of the time. The noise then has
            no values beyond 4.2 standard deviations, which have a probability of 1 in 37,000. This is meant for
            training; benchmarks draw exact noise.
    """
    deviation = rng.uniform(*sigma) if isinstance(sigma, Sequence) else sigma
    if table:
        steps = np.floor(np.float32(deviation) * quantiles()).astype(np.int16)  # image + floor(noise) is truncated
        draws = rng.bit_generator.random_raw(-(-image.size // 4)).view(np.uint16)[: image.size]
        return cv2.add(image, steps.take(draws).reshape(image.shape), dtype=cv2.CV_8U)
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(deviation)
    noisy += image
    np.clip(noisy, 0, 255, out=noisy)
    return noisy.astype(np.uint8)


@in_floats
def awgn(image: pixels.Image, rng: np.random.Generator, *, sigma: Level | Levels) -> NDArray[np.float32]:
    """Add white Gaussian noise in floating point, neither clipped nor rounded.

    This is the noise of DnCNN (Zhang et al., TIP 2017), FFDNet, DRUNet, SwinIR, Restormer and NAFNet. The expected PSNR
    of the noisy image is 20 log10(255 / sigma): 24.61, 20.17 and 14.15 dB for sigma 15, 25 and 50. Results are not
    comparable with those for `noise`, which loses the values below black and above white.

    Args:
        image: Clean image, uint8 or float32 with white at 1, (H, W, 3).
        rng: Random generator.
        sigma: Standard deviation in grey levels of 255. A pair is a range from which each call draws a value, as for
            blind denoising (Restormer, Zamir et al., CVPR 2022, has 0 to 50).

    Returns:
        Noisy image, float32 with white at 1 and values beyond [0, 1], (H, W, 3).
    """
    deviation = rng.uniform(*sigma) if isinstance(sigma, Sequence) else sigma
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(deviation / 255)
    noisy += pixels.to_float(image)
    return noisy


@cache
def quantiles() -> NDArray[np.float32]:
    """Return 65,536 equally likely quantiles of the standard normal distribution, scaled to mean 0 and variance 1."""
    normal, count = NormalDist(), 2**16
    upper = np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count // 2, count)])
    upper /= np.sqrt(np.mean(np.square(upper)))
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)


def lowlight(
    image: Image,
    rng: np.random.Generator,
    *,
    exposure: Exposures = (0.015, 0.08),
    gamma: Lengths = (0.9, 1.1),
    shot: Units = (2e-5, 2e-4),
    read: Units = (2e-4, 8e-4),
) -> Image:
    """Simulate a photograph with too little light: a short exposure with sensor noise, stored with 8 bits.

    In linear light, the image is `y = exposure * x ** gamma`, plus Gaussian noise of variance `shot * y + read ** 2`
    for each sample (the heteroscedastic model of Foi et al., TIP 2008, as in Brooks et al., "Unprocessing Images", CVPR
    2019). It is then clipped, encoded as sRGB and rounded. The defaults were fitted to 5 pairs of LOL-v1 (Wei et al.,
    BMVC 2018). There, the dark image has 0.02 to 0.07 of the light of the clean one at all grey levels, and white noise
    with a standard deviation of 1 to 2 grey levels near black and 2 to 3 at level 20.

    Args:
        exposure: Light relative to the clean image, drawn uniformly in the logarithm; 1 keeps the brightness.
        gamma: Exponent in linear light; values above 1 darken shadows more than highlights.
        shot: Variance of the noise per unit of light, where 1 is white, i.e. one over the number of electrons at white;
            drawn uniformly in the logarithm.
        read: Standard deviation of the noise without light, where 1 is white; drawn uniformly in the logarithm.
    """
    table = log_uniform(rng, *exposure) * np.power(LIGHT, rng.uniform(*gamma))
    deviation = np.sqrt(log_uniform(rng, *shot) * table + log_uniform(rng, *read) ** 2)
    light = rng.standard_normal(image.shape, dtype=np.float32)
    light *= cv2.LUT(image, deviation.astype(np.float32))
    light += cv2.LUT(image, table.astype(np.float32))
    return encode(light)

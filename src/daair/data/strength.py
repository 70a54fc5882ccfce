"""The strength of random degradations, measured by the input PSNR over many draws."""

from dataclasses import dataclass

import numpy as np

from daair.data.degradations import Degradation, degraded
from daair.data.keyed import keyed_rng
from daair.metrics import PROTOCOLS
from daair.pixels import Image

STRENGTHS = {"weak": 0.9, "medium": 0.5, "strong": 0.1}
"""Quantile of the input PSNR over a degradation's draws, by the word for its strength."""


@dataclass(frozen=True)
class Draw:
    """One draw of a degradation.

    Attributes:
        image: Degraded image, uint8 or float32, (H, W, 3).
        psnr: PSNR against the clean image in dB over all channels; infinite if the two are equal.
        number: Number of the draw, which determines the image.
    """

    image: Image
    psnr: float
    number: int


def strengths(image: Image, degrade: Degradation, key: str, draws: int = 21) -> dict[str, Draw]:
    """Degrade an image many times, and return the draws that are weak, medium and strong by their input PSNR.

    Strength is thus comparable between degradations, whatever their parameters are. The three draws are nearly equal if
    a degradation has no random strength, as noise of a fixed sigma.

    Args:
        image: Clean image, uint8 or float32, (H, W, 3).
        degrade: A degradation `(image, rng) -> image`.
        key: Key of the random generators, together with the number of the draw.
        draws: Number of draws.

    Returns:
        The draws at the quantiles of `STRENGTHS`, by its words.

    Raises:
        ValueError: The degradation did not return an image of the same shape.
    """
    protocol, psnr = PROTOCOLS["promptir"].of_inputs, []
    for number in range(draws):
        psnr.append(protocol.psnr(degraded(image, degrade, _rng(key, number)), image))
    order = np.argsort(psnr, kind="stable")
    chosen = {word: int(order[round(quantile * (draws - 1))]) for word, quantile in STRENGTHS.items()}
    # Degrading three times again costs less than keeping all degraded versions of a large photograph.
    return {word: Draw(degraded(image, degrade, _rng(key, at)), psnr[at], at) for word, at in chosen.items()}


def _rng(key: str, number: int) -> np.random.Generator:
    return keyed_rng("strength", key, number)

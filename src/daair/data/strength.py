"""How strong a degradation is on a photograph: the input PSNR that it leaves, over many draws."""

from dataclasses import dataclass

import numpy as np

from daair.data.degradations import Degradation, Image
from daair.data.keyed import keyed_rng
from daair.metrics import PROTOCOLS

STRENGTHS = {"weak": 0.9, "medium": 0.5, "strong": 0.1}
"""The quantile of the input PSNR over a degradation's draws that each word stands for."""


@dataclass(frozen=True)
class Draw:
    """One draw of a degradation.

    Attributes:
        image: Degraded, uint8, (H, W, 3).
        psnr: PSNR against the clean image in dB, over all channels; infinite if nothing changed.
        number: Number of the draw; the same number gives the same picture.
    """

    image: Image
    psnr: float
    number: int


def strengths(image: Image, degrade: Degradation, key: str, draws: int = 21) -> dict[str, Draw]:
    """Degrade an image many times and pick the draws that are weak, medium and strong by their input PSNR.

    So strength means the same for all degradations, whatever their parameters are and whichever of them, high or low,
    makes them worse. Where nothing that matters is drawn (noise of a fixed sigma) the three are nearly alike.

    Args:
        image: Clean image, uint8, (H, W, 3).
        degrade: A degradation `(image, rng) -> image`.
        key: Keys its random numbers, draw by draw.
        draws: Number of draws.

    Returns:
        The draws at the quantiles of `STRENGTHS`, by its words.

    Raises:
        ValueError: The degradation returned what is no image of the same shape.
    """
    psnr = []
    for number in range(draws):
        psnr.append(PROTOCOLS["promptir"].psnr(_checked(degrade(image, _rng(key, number)), image), image))
    order = np.argsort(psnr, kind="stable")
    chosen = {word: int(order[round(quantile * (draws - 1))]) for word, quantile in STRENGTHS.items()}
    # Degrading three times anew costs less than keeping all pictures of a large photograph.
    return {word: Draw(degrade(image, _rng(key, at)), psnr[at], at) for word, at in chosen.items()}


def _rng(key: str, number: int) -> np.random.Generator:
    return keyed_rng("strength", key, number)


def _checked(degraded: Image, image: Image) -> Image:
    found = (getattr(degraded, "shape", None), getattr(degraded, "dtype", type(degraded).__name__))
    if found != (image.shape, np.uint8):
        raise ValueError(f"returned {found[1]} of shape {found[0]} for uint8 of shape {image.shape}")
    return degraded

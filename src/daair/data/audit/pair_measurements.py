"""Measurements of degraded images against their clean ones: the input PSNR, and signs of swapped folders."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from daair.data.images import read_rgb
from daair.data.pairing import Pair
from daair.metrics.protocols import RGB_TO_Y
from daair.pixels import Image


@dataclass(frozen=True)
class PairMeasurement:
    """Measurements of one pair over the whole images.

    Attributes:
        pair: The two files.
        rgb: PSNR of the input in dB over all channels; infinite if the images are equal.
        y: PSNR of the input in dB on MATLAB's luma without rounding; infinite if the images are equal.
        veil: Mean of the darkest channel, input minus target, in grey levels of 255. Rain, snow and haze raise it; low
            light lowers it.
        sharpness: Mean absolute Laplacian, input minus target, in grey levels of 255. Blur lowers it.
    """

    pair: Pair
    rgb: float
    y: float
    veil: float
    sharpness: float

    def swapped(self, label: str | None) -> bool | None:
        """Return whether the input looks cleaner than its target; None if this degradation gives no clear sign.

        The sign is right for each of the Rain100L, Rain100H, SOTS and LOL pairs on which it was tested.
        """
        match label:
            case "rain" | "snow" | "haze" | "haze_rain" | "haze_snow":
                return self.veil < 0
            case "lowlight" | "low":
                return self.veil > 0
            case "blur":
                return self.sharpness > 0
        return None


def measure_pair(pair: Pair) -> PairMeasurement:
    """Read and measure a pair of readable files; a larger clean image is cropped centrally to the size of the input."""
    degraded, clean = _levels(read_rgb(pair.input)), _levels(read_rgb(pair.target))
    top, left = (np.subtract(clean.shape, degraded.shape)[:2] // 2).tolist()
    clean = clean[top : top + degraded.shape[0], left : left + degraded.shape[1]]
    difference = degraded.astype(np.float32) - clean
    return PairMeasurement(
        pair,
        rgb=_psnr(difference),
        y=_psnr(difference @ RGB_TO_Y.astype(np.float32)),
        veil=float(degraded.min(axis=2).mean() - clean.min(axis=2).mean()),
        sharpness=_laplacian(degraded) - _laplacian(clean),
    )


def _psnr(difference: NDArray[np.float32]) -> float:
    error = float(np.mean(np.square(difference, dtype=np.float64)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _levels(image: Image) -> NDArray:
    """Return an image in grey levels of 255, whatever its depth."""
    return image if image.dtype == np.uint8 else image * np.float32(255)


def _laplacian(image: NDArray) -> float:
    return float(np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean())

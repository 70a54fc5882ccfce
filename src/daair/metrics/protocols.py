"""Metric protocols: how PSNR and SSIM are computed. Tables name the protocol of every figure.

Papers differ in the crop, the colour channel, the quantisation and the SSIM window, by up to 0.1 in SSIM for the same
pictures. So each combination that a paper used is declared here.

SSIM is computed here by separable filters in float64: the value of scikit-image's `structural_similarity` and of piq's
`ssim(downsample=False)`, to 1e-9, in less time than either takes (experiments/speed/metrics.csv). piq's default pools
larger images and computes another figure; its PSNR adds 1e-8 to the error, which shows from about 33 dB on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

K1, K2 = 0.01, 0.03
"""SSIM's stabilising constants, for images in [0, 1] (Wang et al., TIP 2004, section III-B)."""

RGB_TO_Y = np.array([65.481, 128.553, 24.966]) / 255
"""ITU-R BT.601 luma of RGB in [0, 1], as MATLAB's rgb2ycbcr; with the offset 16/255 it lies in [16, 235] / 255."""


@dataclass(frozen=True)
class Window:
    """The window in which SSIM takes its means and variances; only windows that lie within the image count.

    Attributes:
        size: Side in pixels, odd.
        sigma: Of a Gaussian in pixels; None for a uniform window.
        sample: Whether variances are divided by n - 1, as scikit-image does by default, and not by n.
    """

    size: int
    sigma: float | None
    sample: bool

    @property
    def taps(self) -> NDArray[np.float64]:
        """Weights of the window along one axis, `(size,)`, with sum 1."""
        distance = np.arange(self.size) - self.size // 2
        taps = np.ones(self.size) if self.sigma is None else np.exp(-0.5 * np.square(distance / self.sigma))
        return taps / taps.sum()


UNIFORM_7 = Window(7, None, sample=True)
GAUSSIAN_11_SAMPLE = Window(11, 1.5, sample=True)
GAUSSIAN_11 = Window(11, 1.5, sample=False)


@dataclass(frozen=True)
class Protocol:
    """One way to measure. Images are RGB, (H, W, 3): uint8, or floating point in [0, 1] (clamped to it).

    Attributes:
        name: As it appears in tables.
        multiple: Images are cut (centrally) to multiples of this many pixels *before* they are degraded; 1 for whole.
        quantise: Whether floating-point images are rounded to 8 bits before they are compared.
        channel: What is compared: all three of RGB, or MATLAB's Y.
        window: SSIM's.
        source: Whose protocol it is.
    """

    name: str
    multiple: int
    quantise: bool
    channel: Literal["rgb", "y"]
    window: Window
    source: str

    def crop(self, image: NDArray) -> NDArray:
        """Cut an image of any dtype, (H, W, ...), to multiples of `multiple`; odd remainders lose more at the end.

        Raises:
            ValueError: The image is smaller than `multiple` or than SSIM's window.
        """
        height, width = image.shape[:2]
        least = max(self.multiple, self.window.size)
        if height < least or width < least:
            raise ValueError(f"{width}x{height} is smaller than the {least} pixels of protocol {self.name}")
        rest_y, rest_x = height % self.multiple, width % self.multiple
        top, left = rest_y // 2, rest_x // 2
        return image[top : top + height - rest_y, left : left + width - rest_x]

    def psnr(self, image: NDArray, reference: NDArray) -> float:
        """Return the peak signal-to-noise ratio in dB over all channels together; infinite for equal images."""
        image, reference = self.compared(image, reference)
        error = float(np.mean(np.square(image - reference)))
        return float("inf") if error == 0 else float(-10 * np.log10(error))

    def ssim(self, image: NDArray, reference: NDArray) -> float:
        """Return the structural similarity (Wang et al., TIP 2004), averaged over positions and channels."""
        image, reference = self.compared(image, reference)
        if min(image.shape[:2]) < self.window.size:
            raise ValueError(f"{image.shape[1]}x{image.shape[0]} is smaller than SSIM's {self.window.size} pixels")
        planes = zip(image.transpose(2, 0, 1), reference.transpose(2, 0, 1), strict=True)
        return float(np.mean([_ssim_of_plane(x, y, self.window) for x, y in planes]))

    def displayed(self, image: NDArray) -> NDArray[np.float64]:
        """Return the image that is compared, RGB in [0, 1], before a channel is chosen.

        Raises:
            TypeError: It is neither uint8 nor floating point.
        """
        if image.dtype == np.uint8:
            return image / 255.0
        if not np.issubdtype(image.dtype, np.floating):
            raise TypeError(f"images are uint8 or floating point, not {image.dtype}")
        image = np.clip(image.astype(np.float64), 0, 1)
        return np.rint(image * 255) / 255 if self.quantise else image

    def compared(self, *images: NDArray) -> list[NDArray[np.float64]]:
        """Return what is compared of each image: (H, W, channels) in [0, 1], as displayed, in the chosen channel.

        Raises:
            ValueError: The shapes differ.
        """
        shapes = [image.shape for image in images]
        if len(set(shapes)) > 1:
            raise ValueError(f"images of different shapes: {' and '.join(map(str, shapes))}")
        shown = [self.displayed(image) for image in images]
        return shown if self.channel == "rgb" else [(image @ RGB_TO_Y + 16 / 255)[..., None] for image in shown]


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="promptir",
            multiple=16,
            quantise=False,  # the network's clamped floats are compared as they are
            channel="rgb",
            window=UNIFORM_7,
            source="PromptIR (Potlapalli et al., NeurIPS 2023), as AirNet and AdaIR: scikit-image's defaults",
        ),
        Protocol(
            name="moceir",
            multiple=16,  # but for CDD-11, which its test script leaves whole
            quantise=False,
            channel="rgb",
            window=GAUSSIAN_11_SAMPLE,
            source="MoCE-IR (Zamfir et al., CVPR 2025): scikit-image with gaussian_weights=True, other defaults",
        ),
        Protocol(
            name="basicsr_rgb",
            multiple=1,
            quantise=True,
            channel="rgb",
            window=GAUSSIAN_11,
            source="BasicSR with crop_border 0 and the original MATLAB code of SSIM, on 8-bit images",
        ),
        Protocol(
            name="basicsr_y",
            multiple=1,
            quantise=True,
            channel="y",  # not rounded; Restormer's MATLAB script for deraining rounds Y to 8 bits (< 0.02 dB)
            window=GAUSSIAN_11,
            source="BasicSR with test_y_channel and crop_border 0; as in tables of deraining (MPRNet, Restormer)",
        ),
    )
}
"""All protocols by name."""


def _ssim_of_plane(x: NDArray[np.float64], y: NDArray[np.float64], window: Window) -> float:
    """Return mean SSIM of two planes (H, W) in [0, 1]; equations 13 to 15 of Wang et al."""
    import cv2  # heavy; only those who measure pay for it

    taps, border = window.taps, window.size // 2
    inside = slice(border, -border)

    def mean(plane: NDArray) -> NDArray:
        return cv2.sepFilter2D(plane, -1, taps, taps)[inside, inside]

    n = window.size**2
    unbiased = n / (n - 1) if window.sample else 1.0
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    mu_x, mu_y = mean(x), mean(y)
    product, squares = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
    covariance = unbiased * (mean(x * y) - product)
    variances = unbiased * (mean(x * x + y * y) - squares)  # of x and y, which only occur as a sum
    similarity = (2 * product + K1**2) * (2 * covariance + K2**2)
    return float(np.mean(similarity / ((squares + K1**2) * (variances + K2**2))))

"""Metric protocols, which define how PSNR and SSIM are computed. Tables state the protocol of every number.

Papers differ in the crop, the colour channel, the quantisation and the SSIM window, which changes SSIM by up to 0.1 for
the same images. Each combination that a paper uses is declared here.

SSIM is computed by separable filters in float64. It agrees with scikit-image's `structural_similarity` and piq's
`ssim(downsample=False)` to 1e-9 and takes less time than either (experiments/speed/metrics.csv). piq's defaults give
other values: its SSIM downsamples larger images, and its PSNR adds 1e-8 to the mean squared error, which is noticeable
from about 33 dB on.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

K1, K2 = 0.01, 0.03
"""Stabilising constants of SSIM for images in [0, 1] (Wang et al., TIP 2004, section III-B)."""

RGB_TO_Y = np.array([65.481, 128.553, 24.966]) / 255
"""Weights of the ITU-R BT.601 luma of RGB in [0, 1], as in MATLAB's rgb2ycbcr, which adds 16/255."""


@dataclass(frozen=True)
class Window:
    """The window of SSIM's means and variances; only windows that lie within the image are used.

    Attributes:
        size: Odd side in pixels.
        sigma: Standard deviation of a Gaussian window in pixels; None for a uniform window.
        sample: Whether variances are divided by n - 1, as by default in scikit-image, instead of n.
    """

    size: int
    sigma: float | None
    sample: bool

    @property
    def taps(self) -> NDArray[np.float64]:
        """The weights of the window along one axis, `(size,)`, with sum 1."""
        distance = np.arange(self.size) - self.size // 2
        taps = np.ones(self.size) if self.sigma is None else np.exp(-0.5 * np.square(distance / self.sigma))
        return taps / taps.sum()


UNIFORM_7 = Window(7, None, sample=True)
GAUSSIAN_11_SAMPLE = Window(11, 1.5, sample=True)
GAUSSIAN_11 = Window(11, 1.5, sample=False)


@dataclass(frozen=True)
class Protocol:
    """One metric protocol. Images are RGB, (H, W, 3), either uint8 or floating point with white at 1.

    Attributes:
        name: Name in tables.
        multiple: Images are cropped centrally to multiples of this number of pixels *before* they are degraded; 1 keeps
            them whole.
        quantise: Whether floating-point images are rounded to 8 bits before they are compared.
        channel: Whether the three channels of RGB or MATLAB's Y are compared.
        window: Window of SSIM.
        source: Paper or software that uses the protocol.
        clamp: Whether floating-point images are clipped to [0, 1] before they are compared; see `of_inputs`.
    """

    name: str
    multiple: int
    quantise: bool
    channel: Literal["rgb", "y"]
    window: Window
    source: str
    clamp: bool = True

    @property
    def of_inputs(self) -> "Protocol":
        """The same protocol without clipping and rounding: degraded inputs are measured as the network gets them."""
        return replace(self, clamp=False, quantise=False)

    def crop(self, image: NDArray) -> NDArray:
        """Crop an image of any dtype, (H, W, ...), centrally to multiples of `multiple`.

        The bottom and right lose one more pixel than the top and left if the remainder is odd.

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
        """Return the structural similarity (Wang et al., TIP 2004), averaged over positions and channels.

        Raises:
            ValueError: The images are smaller than the window, or differ in shape.
        """
        image, reference = self.compared(image, reference)
        if min(image.shape[:2]) < self.window.size:
            raise ValueError(f"{image.shape[1]}x{image.shape[0]} is smaller than SSIM's {self.window.size} pixels")
        planes = zip(image.transpose(2, 0, 1), reference.transpose(2, 0, 1), strict=True)
        return float(np.mean([_ssim_of_plane(x, y, self.window) for x, y in planes]))

    def displayed(self, image: NDArray) -> NDArray[np.float64]:
        """Return an image as RGB with white at 1, clipped and rounded as the protocol says, before a channel is chosen.

        Raises:
            TypeError: The image is neither uint8 nor floating point.
        """
        if image.dtype == np.uint8:
            return image / 255.0
        if not np.issubdtype(image.dtype, np.floating):
            raise TypeError(f"images are uint8 or floating point, not {image.dtype}")
        image = image.astype(np.float64)
        if self.clamp:
            image = np.clip(image, 0, 1)
        return np.rint(image * 255) / 255 if self.quantise else image

    def compared(self, *images: NDArray) -> list[NDArray[np.float64]]:
        """Return the arrays to compare, (H, W, channels), white at 1: images as `displayed`, in the protocol's channel.

        Raises:
            ValueError: The images differ in shape.
        """
        shapes = [image.shape for image in images]
        if len(set(shapes)) > 1:
            raise ValueError(f"images of different shapes: {' and '.join(map(str, shapes))}")
        shown = [self.displayed(image) for image in images]
        return shown if self.channel == "rgb" else [(image @ RGB_TO_Y + 16 / 255)[..., None] for image in shown]


_MOCEIR = Protocol(
    name="moceir",
    multiple=16,
    quantise=False,
    channel="rgb",
    window=GAUSSIAN_11_SAMPLE,
    source="MoCE-IR (Zamfir et al., CVPR 2025): scikit-image with gaussian_weights=True, other defaults",
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="promptir",
            multiple=16,
            quantise=False,  # the network's clipped floating-point output is compared
            channel="rgb",
            window=UNIFORM_7,
            source="PromptIR (Potlapalli et al., NeurIPS 2023), as AirNet and AdaIR: scikit-image's defaults",
        ),
        _MOCEIR,
        replace(
            _MOCEIR,
            name="moceir_whole",
            multiple=1,
            source="MoCE-IR on CDD-11, whose images its test script does not crop; else as `moceir`",
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
    """Return the mean SSIM of two planes (H, W) in [0, 1] by equations 13 to 15 of Wang et al."""
    import cv2  # imported late, because it is slow to import

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

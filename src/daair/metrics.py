"""Metric protocols: how PSNR and SSIM are computed. A figure without its protocol's name means nothing.

Papers differ in the crop, the colour channel, the quantisation and the SSIM window, by up to 0.1 in SSIM for the same
pictures; so each combination that a paper used is a declared object, and tables carry its name.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Protocol:
    """One way to measure. Images are RGB, (H, W, 3): uint8, or floating point in [0, 1] (clamped to it).

    Attributes:
        name: As it appears in tables.
        multiple: Images are cut (centrally) to multiples of this many pixels *before* they are degraded.
        quantise: Whether floating-point images are rounded to 8 bits before they are compared.
        window: Side of SSIM's uniform window in pixels.
        source: Whose protocol it is.
    """

    name: str
    multiple: int
    quantise: bool
    window: int
    source: str

    def crop(self, image: NDArray) -> NDArray:
        """Cuts an image of any dtype, (H, W, ...), to multiples of ``multiple``; odd remainders lose more at the end.

        Raises:
            ValueError: The image is smaller than ``multiple``.
        """
        height, width = image.shape[:2]
        rest_y, rest_x = height % self.multiple, width % self.multiple
        if height < self.multiple or width < self.multiple:
            raise ValueError(f"{width}x{height} is smaller than the {self.multiple} pixels of protocol {self.name}")
        top, left = rest_y // 2, rest_x // 2
        return image[top : top + height - rest_y, left : left + width - rest_x]

    def psnr(self, image: NDArray, reference: NDArray) -> float:
        """Peak signal-to-noise ratio in dB over all channels together; infinite for equal images."""
        image, reference = self._prepare(image), self._prepare(reference)
        _check_shapes(image, reference)
        error = float(np.mean(np.square(image - reference)))
        return float("inf") if error == 0 else float(-10 * np.log10(error))

    def ssim(self, image: NDArray, reference: NDArray) -> float:
        """Structural similarity (Wang et al., TIP 2004), averaged over channels: scikit-image's, uniform window."""
        from skimage.metrics import structural_similarity  # heavy; only those who measure pay for it

        image, reference = self._prepare(image), self._prepare(reference)
        _check_shapes(image, reference)
        return float(structural_similarity(reference, image, win_size=self.window, data_range=1.0, channel_axis=-1))

    def _prepare(self, image: NDArray) -> NDArray[np.float64]:
        """Returns float64 in [0, 1]."""
        if image.dtype == np.uint8:
            return image / 255.0
        if not np.issubdtype(image.dtype, np.floating):
            raise TypeError(f"images are uint8 or floating point, not {image.dtype}")
        image = np.clip(image.astype(np.float64), 0, 1)
        return np.rint(image * 255) / 255 if self.quantise else image


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="promptir",
            multiple=16,
            quantise=False,  # the network's clamped floats are compared as they are
            window=7,
            source="PromptIR (Potlapalli et al., NeurIPS 2023), as AirNet and AdaIR: RGB, scikit-image's defaults",
        ),
    )
}
"""All protocols by name."""


def _check_shapes(image: NDArray, reference: NDArray) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"images of different shapes: {image.shape} and {reference.shape}")

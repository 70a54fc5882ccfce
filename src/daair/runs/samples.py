"""Sample pictures of an evaluation: of each benchmark, the images that gained most and least.

A sample is one PNG file: input, restored and clean image side by side, pixel for pixel, with its figures in text
chunks. So picture and figures appear together or not at all, and any viewer shows the picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from daair.files import replacing

LARGEST, SMALLEST = "largest", "smallest"
WHICH = (LARGEST, SMALLEST)


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark before and after restoration.

    Attributes:
        benchmark, protocol, image: The row of results.csv that it belongs to.
        which: Whether its gain is the `largest` or the `smallest` of its benchmark.
        input_psnr, psnr: Of the whole image against the clean one, in dB.
        strip: (H, 3 W, 3) uint8: input, restored, clean; perhaps only the middle of the image.
    """

    benchmark: str
    protocol: str
    image: str
    which: str
    input_psnr: float
    psnr: float
    strip: np.ndarray

    @property
    def gain(self) -> float:
        """PSNR over that of the input, in dB."""
        return self.psnr - self.input_psnr

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, restored and clean image, (H, W, 3) uint8 each."""
        width = self.strip.shape[1] // 3
        return tuple(self.strip[:, i * width : (i + 1) * width] for i in range(3))


TEXTS = {field.name: field.type for field in fields(Sample) if field.name != "strip"}


def side_by_side(degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of three images, at most `side` x `side` pixels of each, side by side.

    Args:
        degraded, clean: (H, W, 3) uint8.
        restored: (H, W, 3) float in [0, 1].
    """
    rounded = (restored * 255 + 0.5).astype(np.uint8)
    height, width = clean.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    middle = np.s_[top : top + side, left : left + side]
    return np.concatenate([image[middle] for image in (degraded, rounded, clean)], axis=1)


def write(path: Path, sample: Sample) -> None:
    """Write the sample's PNG file, atomically."""
    info = PngImagePlugin.PngInfo()
    for name in TEXTS:
        info.add_itxt(name, str(getattr(sample, name)))
    with replacing(path) as temporary:
        Image.fromarray(sample.strip).save(temporary, format="PNG", pnginfo=info)


def read(path: Path) -> Sample | None:
    """Return the sample in a file; None if the file is another picture, or damaged."""
    try:
        with Image.open(path) as picture:
            texts = {name: kind(picture.info[name]) for name, kind in TEXTS.items()}
            sample = Sample(**texts, strip=np.asarray(picture.convert("RGB")))
    except (OSError, UnidentifiedImageError, KeyError, ValueError, SyntaxError):
        return None
    return sample if sample.strip.shape[1] % 3 == 0 else None


def find(folder: Path) -> Iterator[Sample]:
    """Yield all samples in a run's folder of pictures, by benchmark, the largest gain first."""
    for path in sorted(Path(folder).glob("*/*.png")):
        sample = None if path.name.startswith(".") else read(path)
        if sample is not None:
            yield sample

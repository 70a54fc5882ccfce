"""Sample pictures of an evaluation: the images of each benchmark with the largest and the smallest gain.

A sample is one PNG file with the input, restored and clean image side by side at full resolution. Text chunks of the
file hold its metrics, so that both are written atomically.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from daair.files import replacing
from daair.pixels import to_8_bit

LARGEST, SMALLEST = "largest", "smallest"
WHICH = (LARGEST, SMALLEST)


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark before and after restoration.

    Attributes:
        benchmark, protocol, image: The row of results.csv to which the sample belongs.
        which: Whether its gain is the `largest` or the `smallest` of its benchmark.
        input_psnr, psnr: PSNR in dB of the whole degraded and restored image against the clean one.
        strip: Input, restored and clean image, or the centres of large ones, uint8, (H, 3 W, 3).
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
        """The PSNR of the restored image minus that of the input, in dB."""
        return self.psnr - self.input_psnr

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The input, restored and clean image, uint8, (H, W, 3) each."""
        width = self.strip.shape[1] // 3
        return tuple(self.strip[:, i * width : (i + 1) * width] for i in range(3))


TEXTS = {field.name: field.type for field in fields(Sample) if field.name != "strip"}


def side_by_side(degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray, side: int) -> np.ndarray:
    """Return the centres of three images, at most `side` x `side` pixels each, side by side, as uint8.

    Args:
        degraded, restored, clean: Images, (H, W, 3), uint8, or floating point with white at 1 that is clipped for
            display.
        side: Largest height and width of each centre in pixels.
    """
    height, width = clean.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    middle = np.s_[top : top + side, left : left + side]
    return np.concatenate([to_8_bit(image[middle]) for image in (degraded, restored, clean)], axis=1)


def write(path: Path, sample: Sample) -> None:
    """Write the PNG file of a sample atomically."""
    info = PngImagePlugin.PngInfo()
    for name in TEXTS:
        info.add_itxt(name, str(getattr(sample, name)))
    with replacing(path) as temporary:
        Image.fromarray(sample.strip).save(temporary, format="PNG", pnginfo=info)


def read(path: Path) -> Sample | None:
    """Return the sample in a file; None if the file is another picture or damaged."""
    try:
        with Image.open(path) as picture:
            texts = {name: kind(picture.info[name]) for name, kind in TEXTS.items()}
            sample = Sample(**texts, strip=np.asarray(picture.convert("RGB")))
    except (OSError, UnidentifiedImageError, KeyError, ValueError, SyntaxError):
        return None
    return sample if sample.strip.shape[1] % 3 == 0 else None


def find(folder: Path) -> Iterator[Sample]:
    """Yield all samples in a run's folder of samples by benchmark, the largest gain first."""
    for path in sorted(Path(folder).glob("*/*.png")):
        sample = None if path.name.startswith(".") else read(path)
        if sample is not None:
            yield sample

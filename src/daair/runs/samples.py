"""Sample pictures of an evaluation: of each benchmark the largest gain, the smallest gain, and the shown image.

The shown image is the same for every run, so that pictures of several methods can be compared. A sample is one PNG file
with the input, restored and clean image side by side at full resolution. Text chunks of the file hold its metrics, so
that both are written atomically.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from daair.files import replacing
from daair.pixels import to_8_bit

LARGEST, SMALLEST, SHOWN = "largest", "smallest", "shown"
EXTREMES = (LARGEST, SMALLEST)
WHICH = (*EXTREMES, SHOWN)


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark before and after restoration.

    Attributes:
        benchmark, protocol, image: The row of results.csv to which the sample belongs.
        which: Whether its gain is the `largest` or the `smallest` of its benchmark, or it is the one `shown`.
        input_psnr, psnr: PSNR in dB of the whole degraded and restored image against the clean one.
        strip: Input, restored and clean image, or the centres of large ones, uint8, (H, 3 W, 3).
        left, top: Pixels of the whole image to the left of the centre and above it; 0 in files of earlier versions.
    """

    benchmark: str
    protocol: str
    image: str
    which: str
    input_psnr: float
    psnr: float
    strip: np.ndarray
    left: int = 0
    top: int = 0

    @property
    def gain(self) -> float:
        """The PSNR of the restored image minus that of the input, in dB."""
        return self.psnr - self.input_psnr

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The input, restored and clean image, uint8, (H, W, 3) each."""
        width = self.strip.shape[1] // 3
        return tuple(self.strip[:, i * width : (i + 1) * width] for i in range(3))


TEXTS = {field.name: field for field in fields(Sample) if field.name != "strip"}


def corner(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the top and left pixel of the centre of an image, (H, W, 3), that has at most `side` x `side` pixels."""
    height, width = image.shape[:2]
    return max(0, height - side) // 2, max(0, width - side) // 2


def side_by_side(degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray, side: int) -> np.ndarray:
    """Return the centres of three images, at most `side` x `side` pixels each, side by side, as uint8.

    Args:
        degraded, restored, clean: Images, (H, W, 3), uint8, or floating point with white at 1 that is clipped for
            display.
        side: Largest height and width of each centre in pixels.
    """
    top, left = corner(clean, side)
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
            given = {name: picture.info[name] for name, field in TEXTS.items() if name in picture.info}
            texts = {name: TEXTS[name].type(text) for name, text in given.items()}
            sample = Sample(**texts, strip=np.asarray(picture.convert("RGB")))
    except (OSError, UnidentifiedImageError, TypeError, ValueError, SyntaxError):
        return None
    return sample if sample.strip.shape[1] % 3 == 0 else None


def find(folder: Path, names: str = "*.png") -> Iterator[Sample]:
    """Yield the samples in a run's folder of samples by benchmark: largest gain, shown, smallest gain.

    Args:
        folder: The folder.
        names: Pattern of the files' names, such as `*_gain.png`.
    """
    for path in sorted(Path(folder).glob(f"*/{names}")):
        sample = None if path.name.startswith(".") else read(path)
        if sample is not None:
            yield sample

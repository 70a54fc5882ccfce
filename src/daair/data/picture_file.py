"""An image together with what it takes to write it as the same kind of file."""

import dataclasses
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

NO_UNIT, INCH, CM = 1, 2, 3
"""TIFF's numbers of the units of a resolution (TIFF 6.0, ResolutionUnit)."""

KINDS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
"""Lower-case suffixes of the files of each format, by Pillow's name of the format."""

NEEDS = {"AVIF": ("PIL._avif", "Pillow 11.3 or newer"), "HEIF": ("pillow_heif", "pip install pillow-heif")}
"""Modules that some formats need, with the remedy if they are missing."""

SUFFIXES = {
    suffix: kind
    for kind, suffixes in KINDS.items()
    if kind not in NEEDS or find_spec(NEEDS[kind][0])
    for suffix in suffixes
}
"""Pillow's name of the format by suffix, of the formats that can be read with what is installed."""

WRITTEN = {suffix: kind for suffix, kind in SUFFIXES.items() if kind != "GIF"}
"""Those of the formats that can be written."""

RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
OTHERS = frozenset(
    (*RAW, ".jp2", ".j2k", ".jxl", ".exr", ".hdr", ".tga", ".psd", ".svg", ".ico", ".dds", ".sgi", ".pcx")
)
"""Suffixes of pictures of formats that are never read, such as those of raw photographs."""


@dataclasses.dataclass(frozen=True)
class PictureFile:
    """An image with the properties that are needed to write it as the same kind of file.

    Attributes:
        rgb: Upright image, float32 `(H, W, 3)` in [0, 1]; the three channels are equal if the file was grey.
        bits: Bits per sample, 8 or 16.
        grey: Whether the file holds one colour channel.
        alpha: Upright alpha channel, `(H, W)`, uint8 or uint16 as `bits` says; None if the file has none.
        format: Pillow's name of the format, one of `KINDS`.
        icc: ICC profile.
        exif: EXIF block without orientation and thumbnail.
        resolution: Horizontal and vertical resolution in pixels per `unit`, as stored; None if it is not given.
        unit: Unit of the resolution as TIFF numbers them: 1 none (only the ratio counts), 2 inch, 3 cm.
        left_out: Kinds of metadata of the file that are not read.
        subsampling: Pillow's number of a JPEG's chroma subsampling (0: 4:4:4, 1: 4:2:2, 2: 4:2:0).
        lossless: Whether a WebP file is compressed losslessly.
    """

    rgb: NDArray[np.float32]
    bits: int = 8
    grey: bool = False
    alpha: NDArray | None = None
    format: str = "PNG"
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float] | None = None
    unit: int = INCH
    left_out: tuple[str, ...] = ()
    subsampling: int = 0
    lossless: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """The height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

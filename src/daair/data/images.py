"""Reading and writing image files; a restored image is written as the same kind of file as its input.

PNG, JPEG, BMP, TIFF, WebP, PPM (with PGM and PBM) and GIF files that hold one image can be read; AVIF and HEIC files,
too, if the installed libraries can. They are written as follows:

| read                                   | written                                                                   |
| -------------------------------------- | ------------------------------------------------------------------------- |
| grey, 8 or 16 bits per sample          | the same; the restored channels are averaged                              |
| RGB, 8 or 16 bits                      | the same                                                                  |
| grey or RGB with alpha                 | the same, alpha untouched (16-bit grey with alpha: stored as 16-bit RGBA) |
| palette                                | 8-bit RGB, or RGBA where the palette has transparent entries              |
| 1 bit                                  | 8-bit grey: restored values lie between black and white                   |
| CMYK, YCbCr                            | 8-bit RGB without the ICC profile, which describes inks                   |
| JPEG                                   | JPEG of quality 95 with the same chroma subsampling                       |
| WebP                                   | lossless if it was, else quality 95                                       |
| AVIF, HEIC                             | 8-bit RGB or RGBA of quality 95, even if they had 10 or 12 bits           |
| GIF                                    | PNG, as a palette of 256 colours cannot hold a restored image             |
| EXIF orientation other than 1          | pixels turned upright, tag removed                                        |

The ICC profile, EXIF and the resolution are kept. These are not: an embedded thumbnail, which would show the image
before restoration; XMP, IPTC and Photoshop's blocks; EXIF in BMP and 16-bit colour TIFF, its directories (camera
settings, GPS) in any TIFF. What is not kept is named by `write`. Animations, multi-page files and 32-bit samples, whose
range is not defined, are refused.
"""

import ctypes
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from daair import pixels
from daair.data.encode import encode
from daair.data.picture_file import CM, INCH, KINDS, NEEDS, NO_UNIT, OTHERS, SUFFIXES, WRITTEN, PictureFile
from daair.errors import UserError, one_line, reason
from daair.files import replacing

S, T = TypeVar("S"), TypeVar("T")

# TIFF stores its layout (strips, compression, ...) in the same directory as the text tags; copy the latter only.
_TIFF_TEXT_TAGS = (269, 270, 271, 272, 305, 306, 315, 316, 33432)


def is_image_name(path: str | Path) -> bool:
    """Return whether a file's suffix is one of `SUFFIXES`."""
    return Path(path).suffix.lower() in SUFFIXES


def is_foreign_name(path: str | Path) -> bool:
    """Return whether a file's suffix is that of an image format that cannot be read here, such as `.cr2`."""
    suffix = Path(path).suffix.lower()
    return suffix in OTHERS or not is_image_name(path) and any(suffix in KINDS[kind] for kind in NEEDS)


def names_format(path: str | Path) -> bool:
    """Return whether a file's suffix is that of any image format, known here or not."""
    return is_image_name(path) or is_foreign_name(path) or Path(path).suffix.lower() in Image.registered_extensions()


def remedy(paths: Iterable[str | Path]) -> str:
    """Return the end of a message about files that cannot be read: what would read some of them; empty if nothing."""
    suffixes = {Path(path).suffix.lower() for path in paths} - SUFFIXES.keys()
    ways = [f"{way} reads {' '.join(KINDS[kind])}" for kind, (_, way) in NEEDS.items() if suffixes & {*KINDS[kind]}]
    return "".join(f"; {way}" for way in ways)


def read(path: str | Path) -> PictureFile:
    """Read an image file completely.

    Raises:
        UserError: The file is missing, truncated, not an image, too large, or of an unsupported kind.
    """
    return _read(path, _decode)


def read_rgb(path: str | Path) -> pixels.Image:
    """Read an image as upright RGB `(H, W, 3)`: uint8, or float32 in [0, 1] if it has 16 bits; grey becomes RGB.

    Raises:
        UserError: As `read`; the message also names a remedy.
    """
    try:
        return _read(path, _decode_rgb)
    except UserError as error:
        raise UserError(f"{error}; replace or remove the file") from None


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open images of any size in this block; the caller limits it. Not for several threads."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def size(path: str | Path) -> tuple[int, int]:
    """Return the width and height of an image in pixels, as stored, without decoding it.

    Raises:
        UserError: As `read`.
    """
    return _read(path, lambda data: _open(data).size)


def in_threads(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield `function(item)` for each item in the given order, computed in up to 8 threads."""
    # `_read` changes the filter of warnings, which is not thread-safe; this context restores it at the end.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(function, items)


def _read(path: str | Path, decode: Callable[[bytes], T]) -> T:
    try:
        if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
            raise ValueError("is a pipe or a device, not a file")  # which could be waited for, or have no end
        data = Path(path).read_bytes()
        if not data:
            raise ValueError("the file is empty")
        with warnings.catch_warnings():  # Pillow's warnings of odd EXIF and of large images are of no concern here
            warnings.simplefilter("ignore")
            return decode(data)
    except UnidentifiedImageError:
        kinds = ", ".join(dict.fromkeys(SUFFIXES.values()))
        raise UserError(f"{path}: not a readable picture of 8 or 16 bits ({kinds}){remedy([path])}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # decoders raise errors of many kinds on damaged files
        raise UserError(f"{path}: {one_line(error) or type(error).__name__}") from None


def write(path: str | Path, picture: PictureFile, format: str | None = None) -> list[str]:
    """Write an image atomically and return the kinds of metadata that were left out.

    Args:
        path: File to write; its folder is created if missing.
        picture: Image to write; `rgb` is clipped to [0, 1]. 16 bits are converted to 8 if the format does not have 16.
        format: One of the values of `WRITTEN`; by default the one of the suffix of `path`.

    Raises:
        UserError: The suffix is unknown, the format cannot hold the image, or writing failed.
    """
    path = Path(path)
    format = format or WRITTEN.get(path.suffix.lower())
    if format is None:
        raise UserError(f"{path}: cannot write '{path.suffix}'; the suffixes of what can be are {' '.join(WRITTEN)}")
    if format in ("JPEG", "PPM") and picture.alpha is not None:
        raise UserError(f"{path}: {format} has no alpha channel; choose .png, .tif or .webp")
    try:
        _prepare_libraries()
        data, left_out = encode(picture, format)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        return left_out
    except UserError:
        raise
    except Exception as error:  # encoders raise errors of many kinds
        raise UserError(f"{path}: cannot write: {getattr(error, 'strerror', None) or reason(error)}") from None


# ------------------------------------------------------------------------------------------------------------ reading


@cache
def quiet_libtiff() -> None:
    """Have Pillow's libtiff not print what it finds odd in a file; its errors are raised all the same."""
    folder = Path(PIL.__file__).parent
    for file in (*folder.parent.glob("pillow.libs/libtiff*"), *folder.glob(".dylibs/libtiff*")):
        library = ctypes.CDLL(str(file))
        library.TIFFSetWarningHandler(None)
        library.TIFFSetErrorHandler(None)


@cache
def _prepare_libraries() -> None:
    """Prepare Pillow for reading and writing all formats of `SUFFIXES`."""
    quiet_libtiff()
    if "HEIF" in SUFFIXES.values():
        import pillow_heif

        pillow_heif.register_heif_opener()


def _open(data: bytes) -> Image.Image:
    _prepare_libraries()
    # From memory, because Pillow 13 maps an uncompressed grey TIFF by its path and swaps its sides if it is rotated.
    return Image.open(io.BytesIO(data), formats=tuple(dict.fromkeys(SUFFIXES.values())))


def _decode_rgb(data: bytes) -> pixels.Image:
    """Return `_decode(data).rgb`, as uint8 if the file has 8 bits; common files take a third of the time."""
    image = _open(data)
    plain = image.mode in ("RGB", "L") and image.format in ("JPEG", "PNG", "BMP") and not _is_16_bit_colour(image, data)
    if plain and getattr(image, "n_frames", 1) == 1 and image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return np.array(image.convert("RGB"))
    picture = _decode(data)
    return picture.rgb if picture.bits == 16 else pixels.to_8_bit(picture.rgb)


def _decode(data: bytes) -> PictureFile:
    image = _open(data)
    kind = "JPEG" if image.format == "MPO" else image.format  # MPO is a JPEG of a phone, followed by further images
    if kind not in ("JPEG", "HEIF") and getattr(image, "n_frames", 1) > 1:  # of these the main picture is taken
        raise ValueError(f"holds {image.n_frames} pictures (pages or frames); only single pictures are restored")
    wide = _is_16_bit_colour(image, data)
    # Read before load(), which rotates a TIFF and removes the tag.
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    subsampling = max(JpegImagePlugin.get_sampling(image), 0) if kind == "JPEG" else 0
    image.load()  # raises on truncated files, whose readable part OpenCV would return
    if wide:
        samples = _UPRIGHT.get(orientation, lambda a: a)(_decode_16_bit_colour(data, kind))
        grey = kind == "PNG" and data[25] == 4
    else:
        samples, grey = _samples(ImageOps.exif_transpose(image), kind)
    inks = image.mode in ("CMYK", "YCbCr", "LAB")
    colour, alpha = (samples[..., :1], samples[..., 1]) if samples.shape[2] == 2 else (samples[..., :3], None)
    if samples.shape[2] == 4:
        alpha = samples[..., 3]
    rgb = colour.astype(np.float32)
    rgb /= np.float32(np.iinfo(samples.dtype).max)
    height, width = rgb.shape[:2]
    resolution, unit = _resolution(image, kind)
    if resolution and orientation > 4:  # the sides change places
        resolution = resolution[::-1]
    return PictureFile(
        rgb=np.repeat(rgb, 3, axis=2) if rgb.shape[2] == 1 else np.ascontiguousarray(rgb),
        bits=8 * samples.dtype.itemsize,
        grey=grey,
        alpha=None if alpha is None else np.ascontiguousarray(alpha),
        format="PNG" if kind == "GIF" else kind,
        icc=None if inks else image.info.get("icc_profile"),
        exif=_clean_exif(image, kind, (height, width)),
        resolution=resolution,
        unit=unit,
        left_out=_unread(image),
        subsampling=subsampling,
        lossless=kind != "WEBP" or b"VP8L" in data,
    )


def _samples(image: Image.Image, kind: str) -> tuple[NDArray, bool]:
    """Return samples `(H, W, C)` of an upright image (uint8 or uint16; C = 1, 2, 3 or 4) and whether it is grey."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None], True
    if image.mode == "I" and kind in ("PNG", "PPM"):  # 16-bit grey; PNG in older versions of Pillow
        return np.asarray(image).astype(np.uint16)[..., None], True
    if image.mode in ("I", "F"):
        raise ValueError("samples of 32 bits have no defined range; convert to 16 bits first")
    grey = image.mode in ("1", "L", "LA", "La")
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    image = image.convert(("LA" if transparent else "L") if grey else ("RGBA" if transparent else "RGB"))
    samples = np.asarray(image)
    return samples.reshape(*samples.shape[:2], -1), grey


def _is_16_bit_colour(image: Image.Image, data: bytes) -> bool:
    """Return whether the file holds 16-bit colour, which Pillow would reduce to 8 bits."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        return data[24] == 16  # bit depth in IHDR, always the first chunk
    if image.format == "PPM":
        return (header := _PPM.match(data)) is not None and int(header[1]) > 255
    bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (8,)) if image.format == "TIFF" else (8,)
    return max(bits) == 16


_PPM = re.compile(rb"P6(?:(?:\s|#[^\n]*\n)+(\d+)){3}\s")
"""The header of a binary PPM file: width, height and the value of white, which is the group."""


def _decode_16_bit_colour(data: bytes, kind: str) -> NDArray[np.uint16]:
    """Return uint16 samples `(H, W, 3 or 4)` in the order RGB(A), as stored, without EXIF rotation."""
    import cv2

    if kind == "TIFF":
        data, samples = _open_16_bit_tiff(data)
        if samples is not None:
            return samples
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        raise ValueError("16-bit colour of a kind that OpenCV cannot read")
    if kind == "PPM" and (white := int(_PPM.match(data)[1])) < 65535:
        samples = np.rint(samples * np.float32(65535 / white)).astype(np.uint16)
    return samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def _open_16_bit_tiff(data: bytes) -> tuple[bytes, NDArray[np.uint16] | None]:
    """Return a TIFF file that OpenCV can read, and its samples if tifffile can decode them, else None."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            raise ValueError("16-bit TIFF with premultiplied alpha is not supported")
        planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        plain = (tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE)
        if page.compression in plain:  # for others, tifffile needs a further package, and OpenCV does not
            samples = page.asarray()
            return data, np.moveaxis(samples, 0, -1) if planar else samples
        if planar:
            raise ValueError("compressed 16-bit TIFF with separate colour planes is not supported")
        orientation = page.tags.get("Orientation")
        if orientation is not None:  # set to 1, because OpenCV fails on rotated 16-bit TIFF files
            at = orientation.valueoffset
            data = data[:at] + (b"\1\0" if file.byteorder == "<" else b"\0\1") + data[at + 2 :]
    return data, None


_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""Functions that turn a stored array `(H, W, C)` upright, by EXIF orientation (EXIF 2.32, tag 0x0112)."""


def _resolution(image: Image.Image, kind: str) -> tuple[tuple[float, float] | None, int]:
    """Return the resolution as stored, and TIFF's number of its unit."""
    if kind == "TIFF":
        stored = tuple(image.tag_v2.get(tag) for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution))
        unit = image.tag_v2.get(ExifTags.Base.ResolutionUnit, INCH)
    elif "dpi" in image.info:
        stored, unit = image.info["dpi"], INCH
    else:  # only the ratio of a pixel's sides
        ratio = image.info.get("aspect") or (image.info.get("jfif_density") if "jfif_unit" in image.info else None)
        stored, unit = ratio or (None, None), NO_UNIT
    if not all(isinstance(value, Real) and 0 < value < math.inf for value in stored):
        return None, INCH
    across, down = map(float, stored)
    return (across, down), unit if unit in (NO_UNIT, INCH, CM) else NO_UNIT


def _unread(image: Image.Image) -> tuple[str, ...]:
    """Return the kinds of metadata of a file that restored images do not have."""
    tags = image.tag_v2 if image.format == "TIFF" else ()
    found = {
        "XMP": "xmp" in image.info or "XML:com.adobe.xmp" in image.info,
        "IPTC": 33723 in tags,
        "Photoshop blocks": "photoshop" in image.info or 34377 in tags,
    }
    return tuple(name for name, there in found.items() if there)


def _clean_exif(image: Image.Image, kind: str, size: tuple[int, int]) -> bytes | None:
    """Return the EXIF block for the restored image, without thumbnail; None if it is missing or damaged."""
    try:
        old, new = image.getexif(), Image.Exif()
        for tag in _TIFF_TEXT_TAGS if kind == "TIFF" else [t for t in old if t != ExifTags.Base.Orientation]:
            if tag in old:
                new[tag] = old[tag]
        details = dict(old.get_ifd(ExifTags.IFD.Exif))
        for tag, value in zip((ExifTags.Base.ExifImageHeight, ExifTags.Base.ExifImageWidth), size, strict=True):
            if tag in details:
                details[tag] = value
        place = dict(old.get_ifd(ExifTags.IFD.GPSInfo))
        for tag, content in ((ExifTags.IFD.Exif, details), (ExifTags.IFD.GPSInfo, place)):
            if content:
                new[tag] = content
        return new.tobytes() if len(new) else None
    except Exception:  # an image with damaged EXIF is still restored
        return None

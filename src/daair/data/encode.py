"""Encode images as the bytes of image files; `daair.data.images` says what becomes of each kind of file."""

import dataclasses
import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from daair.data.picture_file import CM, INCH, NO_UNIT, PictureFile

JPEG_QUALITY = 95
WEBP_QUALITY = 95
AVIF_QUALITY = 95
ROWS = 256
"""Rows that are rounded at a time."""
METADATA = {"exif": "Exif", "icc": "ICC profile", "resolution": "resolution"}
"""Metadata that a file can do without, by attribute, in the order in which they are given up."""

CANNOT_HOLD = {"BMP": ("exif", "icc"), "PPM": tuple(METADATA), "AVIF": ("resolution",), "HEIF": ("resolution",)}
"""Metadata that files of some formats cannot hold."""


def encode(picture: PictureFile, format: str) -> tuple[bytes, list[str]]:
    """Return the bytes of an image file, and the kinds of metadata that it cannot hold.

    Raises:
        Exception: The image cannot be written even without metadata.
    """
    left_out = list(picture.left_out)
    if format == "TIFF" and picture.exif and (short := _without_directories(picture.exif)) != picture.exif:
        picture = dataclasses.replace(picture, exif=short)
        left_out.append("Exif directories")
    wide_tiff = format == "TIFF" and picture.bits == 16 and not (picture.grey and picture.alpha is None)
    for name in ("exif",) if wide_tiff else CANNOT_HOLD.get(format, ()):
        if getattr(picture, name):
            picture = dataclasses.replace(picture, **{name: None})
            left_out.append(METADATA[name])
    while True:
        try:
            return _encode(picture, format), left_out
        except Exception:
            held = next((name for name in METADATA if getattr(picture, name)), None)
            if held is None:
                raise
            picture = dataclasses.replace(picture, **{held: None})
            left_out.append(METADATA[held])


def _without_directories(exif: bytes) -> bytes | None:
    """Return an EXIF block without its directories, which libtiff cannot write; None if nothing else is in it."""
    block = Image.Exif()
    block.load(exif)
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop):
        if tag in block:
            del block[tag]
    return block.tobytes() if len(block) else None


def _encode(picture: PictureFile, format: str) -> bytes:
    """Return the bytes of an image file."""
    bits = picture.bits if format in ("PNG", "TIFF", "PPM") else 8
    grey = picture.grey and format not in ("WEBP", "AVIF", "HEIF")
    if grey and picture.alpha is not None and (bits == 16 or format == "BMP"):
        grey = False  # no writer supports 16-bit grey with alpha, and BMP cannot hold it; write three equal channels
    top = 2**bits - 1
    samples = np.empty((*picture.size, 1 if grey else 3), np.uint16 if bits == 16 else np.uint8)
    for start in range(0, len(samples), ROWS):  # in parts, as three float32 copies of a panorama are gigabytes
        colour = picture.rgb[start : start + ROWS]
        colour = colour.mean(axis=2, keepdims=True) if picture.grey else colour
        samples[start : start + ROWS] = np.rint(np.clip(colour, 0, 1) * np.float32(top))
    if picture.alpha is not None:
        alpha = picture.alpha if bits == picture.bits else np.rint(picture.alpha / 257)  # 65535 = 257 * 255
        samples = np.concatenate([samples, alpha.astype(samples.dtype)[..., None]], axis=2)
    if bits == 16 and not grey and format == "TIFF":
        return _encode_16_bit_tiff(samples, picture)
    if bits == 16 and not grey and format == "PPM":
        return _encode_with_opencv(".ppm", samples)
    if bits == 16 and not grey:
        data = _encode_with_opencv(".png", samples)
        return _with_png_chunks(data, _iccp(picture.icc), _exif(picture.exif), _phys(picture))
    if format == "BMP" and samples.shape[2] == 4:  # readers ignore the alpha channel of Pillow's BMP files
        return _with_bmp_resolution(_encode_with_opencv(".bmp", samples), picture)
    options: dict = {"icc_profile": picture.icc} if picture.icc else {}
    if picture.exif:
        options["exif"] = picture.exif
    across, down = picture.resolution or (0, 0)
    if picture.resolution and format == "TIFF":
        options |= {"x_resolution": across, "y_resolution": down, "resolution_unit": picture.unit}
    elif picture.resolution and format in ("JPEG", "BMP") and picture.unit != NO_UNIT:
        options["dpi"] = tuple(side * (2.54 if picture.unit == CM else 1) for side in picture.resolution)
    if format == "JPEG":
        options |= {"quality": JPEG_QUALITY, "subsampling": picture.subsampling}
    elif format == "WEBP":
        options |= {"lossless": picture.lossless, "quality": WEBP_QUALITY, "exact": True}
    elif format in ("AVIF", "HEIF"):
        full = {"subsampling": "4:4:4"} if format == "AVIF" else {"chroma": 444}
        options |= {"quality": AVIF_QUALITY, **full}
    elif format == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
    buffer = io.BytesIO()
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.save(buffer, format=format, **options)
    data = buffer.getvalue()
    if format == "PNG":
        return _with_png_chunks(data, _phys(picture))
    if format == "JPEG" and picture.resolution and picture.unit == NO_UNIT and data[6:11] == b"JFIF\0":
        return data[:13] + struct.pack(">BHH", 0, round(across), round(down)) + data[18:]
    return data


def _encode_16_bit_tiff(samples: NDArray[np.uint16], picture: PictureFile) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples,
        photometric="rgb",
        extrasamples=["unassalpha"] if samples.shape[2] == 4 else None,
        compression="zlib",
        iccprofile=picture.icc,
        resolution=picture.resolution,
        resolutionunit=picture.unit if picture.resolution else None,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def _encode_with_opencv(suffix: str, samples: NDArray) -> bytes:
    """Return the bytes of an image file, given samples `(H, W, 3 or 4)` in the order RGB(A)."""
    import cv2

    done, data = cv2.imencode(suffix, np.ascontiguousarray(samples[..., [2, 1, 0, 3][: samples.shape[2]]]))
    if not done:
        raise ValueError(f"OpenCV could not write {suffix}")
    return data.tobytes()


def _iccp(icc: bytes | None) -> bytes:
    return b"iCCP" + b"ICC profile\0\0" + zlib.compress(icc) if icc else b""


def _exif(exif: bytes | None) -> bytes:
    return b"eXIf" + exif.removeprefix(b"Exif\0\0") if exif else b""  # without what introduces EXIF in a JPEG


def _phys(picture: PictureFile) -> bytes:
    """Return the chunk pHYs, in pixels per metre."""
    if picture.resolution is None:
        return b""
    per_metre = {NO_UNIT: 1, INCH: 1 / 0.0254, CM: 100}[picture.unit]
    across, down = (min(round(side * per_metre), 2**31 - 1) for side in picture.resolution)
    return b"pHYs" + struct.pack(">IIB", across, down, picture.unit != NO_UNIT)


def _with_png_chunks(data: bytes, *chunks: bytes) -> bytes:
    """Return a PNG file with further chunks after its header (PNG specification, third edition, 11.3)."""
    header = 33  # signature and IHDR
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks if c)
    return data[:header] + b"".join(packed) + data[header:]


def _with_bmp_resolution(data: bytes, picture: PictureFile) -> bytes:
    """Return a BMP file with its resolution in pixels per metre, which OpenCV does not write."""
    if picture.resolution is None or picture.unit == NO_UNIT:
        return data
    per_metre = 100 if picture.unit == CM else 1 / 0.0254
    return data[:38] + struct.pack("<ii", *(round(side * per_metre) for side in picture.resolution)) + data[46:]

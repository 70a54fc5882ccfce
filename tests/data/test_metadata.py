"""Whatever a file tells about itself, its pixels come back, and its resolution; what is left out is named."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from daair.data import images

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
IPTC = b"\x1c\x02\x05\x00\x05title"
PHOTOSHOP = b"8BIM\x04\x04\0\0\0\0\0\x0a" + IPTC
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 4), dtype=np.uint8)
MODES = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "LAB": 3}


def exif(*kinds: str) -> bytes:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "Make"
    if "details" in kinds:
        block[ExifTags.IFD.Exif] = {0x9003: "2024:01:01 00:00:00", 0x829A: 0.01}
    if "place" in kinds:
        block[ExifTags.IFD.GPSInfo] = {1: "N", 2: (47.0, 22.0, 30.5)}
    return block.tobytes()


def picture(mode: str) -> Image.Image:
    if mode in ("1", "P"):
        return Image.fromarray(PIXELS[..., :3]).convert(mode)
    samples = PIXELS[..., 0] if MODES[mode] == 1 else PIXELS[..., : MODES[mode]]
    if mode in ("CMYK", "LAB"):
        return Image.frombytes(mode, (13, 9), np.ascontiguousarray(samples).tobytes())
    return Image.fromarray(samples)


def again(data: bytes, folder: Path, suffix: str) -> tuple[images.PictureFile, images.PictureFile, list[str]]:
    """Read, write as an identity network would have it, and read again."""
    source, target = folder / f"a{suffix}", folder / "out" / f"a{suffix}"
    source.write_bytes(data)
    before = images.read(source)
    left_out = images.write(target, before, before.format)
    return before, images.read(target), left_out


@settings(max_examples=120)
@given(
    mode=st.sampled_from(list(MODES)),
    compression=st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"]),
    tags=st.fixed_dictionaries({}, optional={700: st.just(XMP), 33723: st.just(IPTC), 34377: st.just(PHOTOSHOP),
                                             270: st.just("a street"), 305: st.just("ü")}),
    block=st.sampled_from([None, ("make",), ("details",), ("place", "details")]),
    icc=st.sampled_from([None, ICC, b"damaged"]),
    resolution=st.sampled_from([None, (300.0, 150.0, 2), (118.5, 59.25, 3), (2.0, 1.0, 1)]),
)  # fmt: skip
def test_every_tiff_comes_back(tmp_path_factory, mode, compression, tags, block, icc, resolution) -> None:
    options: dict = {"compression": compression}
    if block and compression is None:  # libtiff cannot write its directories, and Pillow takes one of both
        options["exif"] = exif(*block)
    else:
        options["tiffinfo"] = dict(tags)
    if icc:
        options["icc_profile"] = icc
    if resolution:
        options |= dict(zip(("x_resolution", "y_resolution", "resolution_unit"), resolution, strict=True))
    data = io.BytesIO()
    try:
        picture(mode).save(data, "TIFF", **options)
    except (OSError, ValueError, RuntimeError, TypeError):
        return  # there is no such file
    before, after, left_out = again(data.getvalue(), tmp_path_factory.mktemp("tiff"), ".tif")
    assert np.array_equal(before.rgb, after.rgb) and (before.alpha is None) == (after.alpha is None)
    assert (after.resolution, after.unit) == (before.resolution, before.unit)
    if resolution:
        assert (*after.resolution, after.unit) == resolution
    if block and block != ("make",) and "exif" in options:
        assert "Exif directories" in left_out
    named = {"XMP": 700, "IPTC": 33723, "Photoshop blocks": 34377}
    assert {name for name, tag in named.items() if tag in options.get("tiffinfo", ())} <= set(left_out)


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resolutions_of_16_bit_tiff(tmp_path: Path, channels: int, unit: int) -> None:
    wide = (PIXELS[..., 0] if channels == 1 else PIXELS[..., :channels]).astype(np.uint16) * 257
    file = io.BytesIO()
    kind = "minisblack" if channels == 1 else "rgb"
    tifffile.imwrite(
        file, wide, photometric=kind, resolution=(100.5, 50.25), resolutionunit=unit, metadata=None, software=False
    )
    before, after, left_out = again(file.getvalue(), tmp_path, ".tif")
    assert np.array_equal(before.rgb, after.rgb) and after.bits == 16 and not left_out
    assert (*after.resolution, after.unit) == (100.5, 50.25, unit)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_resolutions_of_other_kinds(tmp_path: Path, suffix: str, mode: str) -> None:
    if (suffix, mode) == (".jpg", "RGBA"):
        pytest.skip("there is no such file")
    given = images.PictureFile(PIXELS[..., :3] / np.float32(255), resolution=(300, 150), alpha=None, grey=mode == "L")
    if mode == "RGBA":
        given = images.PictureFile(given.rgb, resolution=(300, 150), alpha=PIXELS[..., 3])
    assert images.write(tmp_path / f"a{suffix}", given) == []
    assert images.read(tmp_path / f"a{suffix}").resolution == pytest.approx((300, 150), abs=0.05)
    if suffix != ".bmp":
        images.write(tmp_path / f"b{suffix}", images.PictureFile(given.rgb, resolution=(2, 1), unit=1))
        ratio = images.read(tmp_path / f"b{suffix}")
        assert (ratio.resolution, ratio.unit) == ((2, 1), 1)


def test_metadata_that_cannot_be_written_costs_itself_and_is_named(tmp_path: Path) -> None:
    rgb = PIXELS[..., :3] / np.float32(255)
    long = Image.Exif()
    long[ExifTags.Base.Make] = "x" * 70_000  # more than a segment of JPEG holds
    given = images.PictureFile(rgb, exif=long.tobytes(), icc=ICC)
    assert images.write(tmp_path / "a.jpg", given) == ["Exif"]
    assert images.read(tmp_path / "a.jpg").icc == ICC
    given = images.PictureFile(rgb, exif=exif("details", "place"), icc=ICC)
    assert images.write(tmp_path / "a.tif", given) == ["Exif directories"]
    assert images.write(tmp_path / "a.bmp", given) == ["Exif", "ICC profile"]
    assert images.write(tmp_path / "a.png", given) == []
    for name in ("a.tif", "a.bmp", "a.png"):
        assert np.array_equal(images.read(tmp_path / name).rgb, rgb)


def test_libtiff_prints_nothing(tmp_path: Path, capfd) -> None:
    file = tmp_path / "a.tif"
    tags = [(65000, "s", 0, "odd", True), (50706, "B", 4, (1, 4, 0, 0), True)]
    tifffile.imwrite(file, PIXELS[..., :3], photometric="rgb", compression="zlib", extratags=tags)
    images.read(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(Exception, match=r"a\.tif"):
        images.read(file)
    told = capfd.readouterr()
    assert told.out == told.err == ""

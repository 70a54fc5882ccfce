"""Files of every kind survive reading and writing; damaged ones are named."""

import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from daair.data import images
from daair.errors import UserError

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (9, 13, 4), dtype=np.uint16)
BYTES = (WIDE >> 8).astype(np.uint8)
TURNS = {
    1: lambda a: a,
    2: lambda a: np.fliplr(a),
    3: lambda a: np.rot90(a, 2),
    4: lambda a: np.flipud(a),
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a),
}


def samples(mode: str) -> np.ndarray:
    """Test samples of a mode of 8 bits per channel."""
    count = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    return BYTES[..., 0] if count == 1 else BYTES[..., :count]


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.Make] = "camera"
    block[ExifTags.IFD.Exif] = {0x9003: "2020:01:01 00:00:00", 0xA002: 13, 0xA003: 9}
    return block


def png(depth: int, colour: int, rows: np.ndarray) -> bytes:
    """A PNG file written by hand, for kinds that no library at hand writes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def again(path: Path, folder: str = "out") -> Path:
    """Reads and writes a file under the same name in another folder."""
    picture = images.read(path)
    target = path.parent / folder / path.name
    images.write(target, picture, picture.format)
    return target


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(s, m) for s in (".png", ".tif") for m in ("L", "LA", "RGB", "RGBA")]
    + [(".bmp", "L"), (".bmp", "RGB"), (".webp", "RGB"), (".webp", "RGBA"), (".TIFF", "RGB"), (".PNG", "L")],
)
def test_lossless_kinds_of_8_bits_come_back_exactly(tmp_path, suffix, mode):
    path = tmp_path / f"a b ü{suffix}"
    options = {} if suffix == ".bmp" else {"icc_profile": ICC}
    Image.fromarray(samples(mode)).save(path, lossless=True, exact=True, **options)
    picture = images.read(path)
    assert picture.rgb.dtype == np.float32 and picture.rgb.shape == (9, 13, 3) and picture.bits == 8
    assert picture.grey == mode.startswith("L") and (picture.alpha is not None) == mode.endswith("A")
    with Image.open(again(path)) as written, Image.open(path) as read:
        assert (written.mode, written.format, written.size) == (mode, read.format, (13, 9))
        assert np.array_equal(np.asarray(written), samples(mode))
        assert written.info.get("icc_profile") == options.get("icc_profile")


def test_bmp_keeps_its_alpha_channel(tmp_path):
    path = tmp_path / "a.bmp"
    cv2.imwrite(str(path), BYTES)
    written = cv2.imread(str(again(path)), cv2.IMREAD_UNCHANGED)
    assert images.read(path).alpha is not None and np.array_equal(written, BYTES)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_come_back_exactly(tmp_path, suffix, channels):
    path = tmp_path / f"a{suffix}"
    expected = WIDE[..., 0] if channels == 1 else WIDE[..., :channels]
    cv2.imwrite(str(path), expected)  # a TIFF of OpenCV is LZW-compressed
    picture = images.read(path)
    assert picture.bits == 16 and picture.grey == (channels == 1)
    if channels > 1:
        assert np.array_equal(np.rint(picture.rgb * 65535), expected[..., [2, 1, 0]])
    written = cv2.imread(str(again(path)), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16 and np.array_equal(written, expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_tiff_layouts(tmp_path, planar):
    path = tmp_path / "a.tif"
    data = WIDE[..., :3] if planar == "contig" else np.moveaxis(WIDE[..., :3], -1, 0)
    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar, byteorder=">")
    assert np.array_equal(np.rint(images.read(path).rgb * 65535), WIDE[..., :3])


def test_16_bit_colour_keeps_profile_and_exif(tmp_path):
    picture = images.PictureFile(WIDE[..., :3] / np.float32(65535), bits=16, icc=ICC, exif=exif().tobytes())
    for suffix in (".png", ".tif"):
        images.write(tmp_path / f"a{suffix}", picture)
        with Image.open(tmp_path / f"a{suffix}") as written:
            written.load()
            assert written.info["icc_profile"] == ICC
            if suffix == ".png":
                assert written.getexif()[ExifTags.Base.Make] == "camera"
    assert images.read(tmp_path / "a.png").exif is not None


def test_16_bit_grey_with_alpha_is_stored_as_rgba(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(16, 4, WIDE[..., :2]))
    picture = images.read(path)
    assert picture.grey and picture.bits == 16 and np.array_equal(picture.alpha, WIDE[..., 1])
    written = cv2.imread(str(again(path)), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, WIDE[..., [0, 0, 0, 1]])


def test_restored_grey_is_the_mean_and_alpha_is_untouched(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(samples("LA")).save(path)
    restored = RNG.random((9, 13, 3), dtype=np.float32) * 1.4 - 0.2
    images.write(path, dataclasses.replace(images.read(path), rgb=restored))
    with Image.open(path) as written:
        values = np.asarray(written)
    assert np.array_equal(values[..., 1], samples("LA")[..., 1])
    assert np.abs(values[..., 0] / 255 - restored.mean(axis=2).clip(0, 1)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("mode", "transparency", "expected"),
    [("P", None, "RGB"), ("P", 3, "RGBA"), ("1", None, "L"), ("L", 7, "LA"), ("RGB", (1, 2, 3), "RGBA")],
)
def test_what_cannot_stay_becomes_the_nearest_kind(tmp_path, mode, transparency, expected):
    path = tmp_path / "a.png"
    image = Image.fromarray(samples("L" if mode == "L" else "RGB")).convert(mode)
    image.save(path, **({} if transparency is None else {"transparency": transparency}))
    with Image.open(again(path)) as written, Image.open(path) as read:
        assert written.mode == expected
        assert np.array_equal(np.asarray(written), np.asarray(read.convert(expected)))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_keeps_subsampling_profile_and_exif(tmp_path, subsampling):
    path = tmp_path / "a.jpg"
    smooth = np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8)
    Image.fromarray(smooth).save(
        path, quality=95, subsampling=subsampling, icc_profile=ICC, exif=exif(), dpi=(300, 300)
    )
    target = again(path)
    assert images.read(target).subsampling == subsampling
    with Image.open(target) as written, Image.open(path) as read:
        assert written.format == "JPEG" and written.info["icc_profile"] == ICC and written.info["dpi"] == (300, 300)
        assert written.getexif()[ExifTags.Base.Make] == "camera"
        assert np.abs(np.asarray(written).astype(int) - np.asarray(read)).mean() < 1


def test_grey_and_cmyk_jpeg(tmp_path):
    for mode, expected in (("L", "L"), ("CMYK", "RGB")):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(samples("RGB")).convert(mode).save(path, icc_profile=ICC)
        with Image.open(again(path)) as written:
            assert written.mode == expected and ("icc_profile" in written.info) == (mode == "L")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "grey.tif", "wide.tif", "lzw.tif", "wide.png"])
def test_exif_orientation_is_applied_and_removed(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind}"
    stored = np.kron(BYTES[:3, :4, :3], np.ones((16, 16, 1), np.uint8))  # flat blocks survive JPEG
    if kind == "wide.tif":
        tifffile.imwrite(path, stored.astype(np.uint16) * 257, photometric="rgb", extratags=[(274, 3, 1, orientation)])
    elif kind == "lzw.tif":
        write_turned_lzw(path, stored.astype(np.uint16) * 257, orientation)
    elif kind == "wide.png":
        wide = stored.astype(np.float32) / 255
        images.write(path, images.PictureFile(wide, bits=16, exif=exif(orientation).tobytes()))
    elif kind.endswith("tif"):
        stored = stored[..., 0] if kind.startswith("grey") else stored
        Image.fromarray(stored).save(path, tiffinfo={274: orientation})
    else:
        Image.fromarray(stored).save(path, exif=exif(orientation), lossless=True, quality=95, subsampling=0)
    expected = TURNS[orientation](stored.reshape(48, 64, -1))
    picture = images.read(path)
    assert picture.rgb.shape == (*expected.shape[:2], 3)
    assert np.abs(picture.rgb * 255 - expected).mean() < (4 if kind == "jpg" else 1e-3)
    target = again(path)
    assert np.abs(images.read(target).rgb - picture.rgb).mean() < 0.02
    with Image.open(target) as written:
        assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1
        if kind in ("jpg", "png", "webp"):
            details = written.getexif().get_ifd(ExifTags.IFD.Exif)
            assert (details[0xA003], details[0xA002]) == expected.shape[:2]


def write_turned_lzw(path: Path, data: np.ndarray, orientation: int) -> None:
    """OpenCV compresses but writes no orientation; here it takes the place of a tag that readers can do without."""
    _, encoded = cv2.imencode(".tif", np.ascontiguousarray(data[..., ::-1]))
    encoded = bytearray(encoded.tobytes())
    with tifffile.TiffFile(io.BytesIO(bytes(encoded))) as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.LZW
        spare = file.pages[0].tags["SampleFormat"]
        order = file.byteorder
        encoded[spare.offset : spare.offset + 12] = struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0)
    path.write_bytes(bytes(encoded))


def test_tiff_keeps_what_it_tells_about_itself_but_not_its_layout(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(samples("RGB")).save(path, tiffinfo={270: "a street", 271: "camera"}, compression="packbits")
    with Image.open(again(path)) as written:
        assert written.tag_v2[270] == "a street" and written.tag_v2[271] == "camera"
        assert np.array_equal(np.asarray(written), samples("RGB"))


def test_webp_stays_lossy_or_lossless(tmp_path):
    for lossless in (True, False):
        path = tmp_path / f"{lossless}.webp"
        Image.fromarray(samples("RGB")).save(path, lossless=lossless, exif=exif())
        assert images.read(again(path)).lossless is lossless


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.kron(BYTES[..., :3], np.ones((8, 8, 1), np.uint8))).save(path)
    data = path.read_bytes()
    for share in (0.05, 0.5, 0.8):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UserError, match=path.name):
            images.read(path)


def test_truncated_16_bit_files_are_not_half_read(tmp_path):
    for name in ("a.png", "a.tif"):
        path = tmp_path / name
        cv2.imwrite(str(path), np.kron(WIDE[..., :3], np.ones((8, 8, 1), np.uint16)))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=name):
            images.read(path)


def test_what_is_refused_says_why(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    frames = [Image.fromarray(BYTES[..., k]) for k in range(3)]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].convert("RGB").save(tmp_path / "film.webp", save_all=True, append_images=frames[1:])
    tifffile.imwrite(tmp_path / "float.tif", WIDE[..., 0].astype(np.float32))
    tifffile.imwrite(tmp_path / "assoc.tif", WIDE, photometric="rgb", extrasamples=["assocalpha"])
    reasons = {
        "text.png": r"not a readable picture of 8 or 16 bits \(PNG, ",
        "empty.png": "empty",
        "folder.png": "Is a directory",
        "missing.png": "No such file",
        "pages.tif": "3 pictures",
        "film.webp": "pictures",
        "float.tif": "32 bits",
        "assoc.tif": "premultiplied",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as caught:
            images.read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    frames[0].save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UserError, match=r"bomb\.png.*exceeds limit"):
        images.read(tmp_path / "bomb.png")


def test_another_suffix_converts_where_the_format_allows(tmp_path):
    wide = images.PictureFile(WIDE[..., :3] / np.float32(65535), bits=16, alpha=WIDE[..., 3])
    images.write(tmp_path / "a.webp", wide)
    with Image.open(tmp_path / "a.webp") as written:
        assert written.mode == "RGBA"
        assert np.abs(np.asarray(written)[..., 3] - WIDE[..., 3] / 257).max() <= 0.5
    with pytest.raises(UserError, match="alpha"):
        images.write(tmp_path / "a.jpg", wide)
    with pytest.raises(UserError, match="suffix"):
        images.write(tmp_path / "a.gif", wide)
    images.write(tmp_path / "grey.webp", images.PictureFile(wide.rgb, grey=True))
    assert np.array_equal(np.ptp(images.read(tmp_path / "grey.webp").rgb, axis=2), np.zeros((9, 13)))


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="no space left"):
        images.write(path, images.PictureFile(np.zeros((2, 2, 3), np.float32)))
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["a.png"]


def test_one_pixel(tmp_path):
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        path = tmp_path / f"a{suffix}"
        Image.new("RGB", (1, 1), (10, 200, 30)).save(path)
        assert images.read(again(path)).size == (1, 1)


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(samples("RGB")).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(60)))
    assert images.read(again(path)).size == (9, 13)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_pixels_alone_are_those_of_the_picture(tmp_path, suffix, mode, orientation):
    """The short way for usual files and the long way for all others agree."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(noise)
    path = tmp_path / f"a{suffix}"
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation
    try:
        (image if mode == "I;16" else image.convert(mode)).save(path, exif=turned)
    except (OSError, ValueError, KeyError):
        pytest.skip("there is no such file")
    pixels = images.read_rgb(path)
    whole = images.read(path)
    assert pixels.dtype == (np.float32 if whole.bits == 16 else np.uint8)
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    assert np.array_equal(pixels, whole.rgb if whole.bits == 16 else np.rint(whole.rgb * 255).astype(np.uint8))

"""Pictures of less usual formats are read and written as the same kind; what cannot be read is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from daair.data import images
from daair.data.listing import describe_foreign, foreign_beside, list_images
from daair.errors import UserError

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
BYTES = (WIDE >> 8).astype(np.uint8)
SMOOTH = np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8)
HEIC = ".heic" in images.SUFFIXES
LOSSY = [suffix for suffix in (".avif", ".heic") if suffix in images.SUFFIXES]


def again(path: Path) -> Path:
    """Read and write a file under the same name in another folder."""
    target = path.parent / "out" / path.name
    images.write(target, images.read(path), images.read(path).format)
    return target


@pytest.mark.parametrize(
    ("name", "mode"), [("a.ppm", "RGB"), ("a.pgm", "L"), ("a.PNM", "RGB"), ("a.pbm", "1"), ("a.jfif", "RGB")]
)
def test_formats_under_their_names(tmp_path, name, mode):
    path = tmp_path / name
    Image.fromarray(BYTES).convert(mode).save(path, format="JPEG" if name.endswith("jfif") else "PPM")
    with Image.open(path) as stored:
        expected, kind = np.asarray(stored.convert("RGB")), stored.format
    assert np.array_equal(images.read_rgb(path), expected)
    with Image.open(again(path)) as written:
        assert written.format == kind and written.mode == ("L" if mode in ("1", "L") else "RGB")
        if kind == "PPM":
            assert np.array_equal(np.asarray(written.convert("RGB")), expected)


@pytest.mark.parametrize("comment", [b"", b"# of a scanner\n"])
@pytest.mark.parametrize("white", [1023, 65535])
def test_ppm_of_16_bits_keeps_its_precision(tmp_path, white, comment):
    path, stored = tmp_path / "a.ppm", WIDE if white == 65535 else WIDE >> 6
    path.write_bytes(b"P6\n" + comment + b"13 9\n%d\n" % white + stored.astype(">u2").tobytes())
    picture = images.read(path)
    assert picture.bits == 16 and np.allclose(picture.rgb, stored / white, atol=1e-5)
    assert images.read_rgb(path).dtype == np.float32
    written = cv2.imread(str(again(path)), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert np.array_equal(written, np.rint(stored * (65535 / white)).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.ppm"):
        images.read(path)


def test_pgm_of_16_bits_keeps_its_precision(tmp_path):
    cv2.imwrite(str(tmp_path / "a.pgm"), WIDE[..., 0])
    assert images.read(tmp_path / "a.pgm").bits == 16
    assert np.array_equal(cv2.imread(str(again(tmp_path / "a.pgm")), cv2.IMREAD_UNCHANGED), WIDE[..., 0])


def test_what_ppm_cannot_hold_is_named(tmp_path):
    picture = images.PictureFile(BYTES / np.float32(255), icc=ICC, resolution=(300, 300))
    assert images.write(tmp_path / "a.ppm", picture) == ["ICC profile", "resolution"]
    with pytest.raises(UserError, match="PPM has no alpha channel"):
        images.write(tmp_path / "a.ppm", images.PictureFile(picture.rgb, alpha=BYTES[..., 0]))


def test_gif_becomes_png_and_films_are_refused(tmp_path):
    path = tmp_path / "a.gif"
    Image.fromarray(BYTES).quantize(16).save(path)
    picture = images.read(path)
    with Image.open(path) as stored:
        assert np.array_equal(np.rint(picture.rgb * 255), np.asarray(stored.convert("RGB")))
    assert picture.format == "PNG"
    with pytest.raises(UserError, match="a.gif: cannot write '.gif'; the suffixes of what can be are .png"):
        images.write(path, picture)
    frames = [Image.fromarray(BYTES[..., k]) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a\.gif: holds 3 pictures"):
        images.read(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("suffix", LOSSY)
def test_avif_and_heic_come_back_nearly(tmp_path, suffix, mode):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x010F] = "Make"
    images.write(path, images.PictureFile(SMOOTH / np.float32(255)))  # registers what Pillow needs to write
    stored = Image.fromarray(SMOOTH).convert(mode)
    if mode == "RGBA":
        stored.putalpha(Image.fromarray(SMOOTH[..., 0]))
    stored.save(path, quality=95, icc_profile=ICC, exif=exif.tobytes())
    picture = images.read(path)
    assert (picture.alpha is not None) == (mode == "RGBA") and picture.bits == 8
    with Image.open(again(path)) as written, Image.open(path) as stored:
        assert written.format == stored.format and written.size == (64, 48)
        assert written.mode == ("RGBA" if mode == "RGBA" else "RGB")
        assert written.info["icc_profile"] == ICC and written.getexif()[0x010F] == "Make"
        change = np.asarray(written.convert("RGB")).astype(int) - np.asarray(stored.convert("RGB"))
        assert np.abs(change).mean() < 2
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=path.name):
        images.read(path)


@pytest.mark.skipif(HEIC, reason="HEIC can be read here")
def test_a_format_that_cannot_be_read_here_is_named_with_the_remedy(tmp_path):
    for name in ("b.HEIC", "a.cr2", "notes.txt", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    found = foreign_beside([tmp_path / "c.png", tmp_path / "d.png"])
    assert [file.name for file in found] == ["a.cr2", "b.HEIC"]
    with pytest.raises(UserError, match=r"holds no images but 2 pictures of formats that cannot be read: a.cr2, b"):
        list_images(tmp_path)
    assert describe_foreign(found[-1:]) == (
        "1 picture of a format that cannot be read: b.HEIC; pip install pillow-heif reads .heic .heif"
    )
    with pytest.raises(UserError, match="b.HEIC: not a readable picture.*; pip install pillow-heif reads .heic .heif"):
        images.read(tmp_path / "b.HEIC")

"""What is wrong with a folder or a file is told with its name and a remedy, or left out, counted and listed."""

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daair.data.degradations import noise
from daair.data.images import read_rgb
from daair.data.listing import walk
from daair.data.mix import Mix
from daair.data.sources import DeadLeaves, Folder
from daair.data.tasks import MixTask
from daair.errors import UserError

SKIP = "on_bad_file=skip"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "clean").mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "clean" / f"{i}.png")
    return tmp_path


def make(root, **changes):
    settings = {
        "train": [Folder("clean")],
        "val": [DeadLeaves(count=2, size=32)],
        "tasks": {"noise": MixTask(lambda image, rng: noise(image, rng, sigma=25))},
        "patch": 32,
        "val_patch": 32,
        "val_crops": 2,
        "root": str(root),
    }
    return Mix(**(settings | changes))


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])


def text(file: Path) -> None:
    file.write_text("not a picture")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def bomb(file: Path) -> None:
    """A small file that says of itself to hold 20,000 x 20,000 pixels."""
    Image.new("RGB", (1, 1)).save(file)
    data = file.read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + data[24:29]
    file.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


def one_pixel(file: Path) -> None:
    Image.new("RGB", (1, 1)).save(file)


def small(file: Path) -> None:
    Image.new("RGB", (48, 31)).save(file)


BAD = [
    (truncated, "2.png: .*truncated.*; replace or remove the file, or leave out .*{SKIP}"),
    (text, "2.png: not a readable picture of 8 or 16 bits .PNG, JPEG, .*; replace or remove the file"),
    (empty, "2.png: the file is empty; replace or remove the file"),
    (bomb, "2.png: .*400000000 pixels.*; replace or remove the file"),
    (one_pixel, r"^patch: 32 is larger than the smallest training image \(2.png, 1x1\); .*{SKIP}"),
    (small, r"^patch: 32 is larger .* \(2.png, 48x31\); the largest patch that fits is 31; .*{SKIP}"),
]


@pytest.mark.parametrize(("spoil", "words"), BAD, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("cache", [None, "cache"])
def test_bad_file(root, spoil, words, cache):
    spoil(root / "clean" / "2.png")
    cache = cache and str(root / cache)
    for _ in range(2):
        with pytest.raises(UserError, match=words.replace("{SKIP}", SKIP)):
            make(root, cache=cache).prepare()
    summary = make(root, cache=cache, on_bad_file="skip").summary()
    assert summary["degradations"]["noise"]["images"] == 3
    (skipped,) = summary["skipped"]
    assert skipped["file"] == str(root / "clean" / "2.png") and skipped["why"]


def test_unreadable_for_want_of_rights(root, monkeypatch):
    """As root nothing is forbidden, so the system's answer is played."""
    read_bytes = Path.read_bytes

    def refuse(file):
        if file.name == "2.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=f"clean/2.png: Permission denied; .*{SKIP}"):
        make(root).prepare()
    assert len(make(root, on_bad_file="skip").summary()["skipped"]) == 1


def test_a_folder_without_rights(root, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match=r"clean: cannot be listed \(Permission denied\)"):
        make(root).prepare()


def test_grey_and_16_bit_are_trained_on(root):
    grey = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
    Image.fromarray(grey).save(root / "clean" / "1.png")
    wide = np.random.default_rng(1).integers(0, 65536, (40, 48), dtype=np.uint16)
    Image.fromarray(wide).save(root / "clean" / "2.png")
    mix = make(root)
    assert mix.summary()["degradations"]["noise"]["images"] == 4 and not mix.summary()["skipped"]
    for name, kind, stored in (("1.png", np.uint8, grey), ("2.png", np.float32, wide / np.float32(65535))):
        image = mix.decoded.read(root / "clean" / name)
        assert image.dtype == kind and np.array_equal(image, np.dstack([stored] * 3))


def test_missing_and_empty_folder(root):
    with pytest.raises(UserError, match=f"^{root}/nowhere: no such folder$"):
        make(root, train=[Folder("nowhere")]).prepare()
    (root / "nothing").mkdir()
    with pytest.raises(UserError, match=f"{root}/nothing: holds no images; put files of these kinds there"):
        make(root, train=[Folder("nothing")]).prepare()


def test_nothing_usable_is_an_error_even_when_skipping(root):
    for file in (root / "clean").iterdir():
        text(file)
    with pytest.raises(UserError, match=r"clean: none of 4 images can be used \(.*0.png: not a readable picture"):
        make(root, on_bad_file="skip").prepare()
    for file in (root / "clean").iterdir():
        small(file)
    with pytest.raises(UserError, match="the largest patch that fits is 31$"):
        make(root, on_bad_file="skip").prepare()


def test_several_bad_files_are_counted(root):
    for name in ("1.png", "2.png", "3.png"):
        text(root / "clean" / name)
    with pytest.raises(UserError, match=r"1.png: .*\(2 more files cannot be read\)"):
        make(root).prepare()


def test_bad_files_of_validation(root):
    text(root / "clean" / "3.png")
    leaves = [DeadLeaves(count=2, size=32)]
    with pytest.raises(UserError, match="3.png: not a readable"):
        make(root, train=leaves, val=[Folder("clean")]).prepare()
    with pytest.raises(UserError, match="^val_patch: 48 is larger than the smallest validation image"):
        make(root, train=leaves, val=[Folder("clean")], val_patch=48, on_bad_file="skip").prepare()


def test_links_do_not_lead_round_in_circles(root):
    """A folder that holds itself, and one that leads out and back in, are entered once."""
    (root / "clean" / "again").symlink_to(root / "clean")
    (root / "other").mkdir()
    (root / "other" / "back").symlink_to(root)
    (root / "clean" / "out").symlink_to(root / "other")
    (root / "clean" / "nowhere").symlink_to(root / "gone")
    (root / "clean" / "gone.png").symlink_to(root / "gone.png")
    found = list(walk(root / "clean", recursive=True))
    assert sorted(file.name for file in found) == ["0.png", "1.png", "2.png", "3.png"]
    assert len(Folder("clean").pictures(str(root))) == 4


def test_reading_names_the_file(root):
    text(root / "clean" / "0.png")
    with pytest.raises(UserError, match="0.png: not a readable .*; replace or remove the file"):
        read_rgb(root / "clean" / "0.png")


def test_pictures_of_other_formats_are_counted_and_named(root):
    """They are no error even without on_bad_file=skip, but neither are they passed over silently."""
    (root / "clean" / "photo.cr2").touch()
    (root / "clean" / "list.txt").touch()
    skipped = make(root).summary()["skipped"]
    assert skipped == [{"file": str(root / "clean" / "photo.cr2"), "why": "its format cannot be read"}]

"""Sources return the images that they name, or say which file is wrong."""

import numpy as np
import pytest
from PIL import Image

from daair.data import sources
from daair.data.decoded import Decoded
from daair.data.leaves import dead_leaves
from daair.data.sources import CleanSet, DeadLeaves, Folder, Photographs
from daair.errors import UserError


def load(source, root=None):
    """Names and pixels of all pictures of a source."""
    return [(name, Decoded().read(picture)) for name, picture in source.pictures(root)]


def save(path, array):
    Image.fromarray(array).save(path)


def colours(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_folder_reads_every_kind_in_natural_order(tmp_path):
    image = colours()
    for name in ("10.png", "2.bmp", "1.tif", "3.tiff", "4.PNG"):
        save(tmp_path / name, image)
    Image.fromarray(image).save(tmp_path / "5.webp", lossless=True)
    Image.fromarray(image).save(tmp_path / "6.jpg")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "sub.png").mkdir()
    loaded = load(Folder(str(tmp_path)))
    assert [name for name, _ in loaded] == ["1.tif", "2.bmp", "3.tiff", "4.PNG", "5.webp", "6.jpg", "10.png"]
    for name, array in loaded:
        assert array.dtype == np.uint8 and array.shape == image.shape
        assert name == "6.jpg" or np.array_equal(array, image)


def test_folder_is_relative_to_the_root(tmp_path):
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "x.png", colours())
    assert Folder("a").needs_root and not Folder(str(tmp_path)).needs_root
    assert Folder("a").pictures(str(tmp_path)) == [("x.png", tmp_path / "a" / "x.png")]


@pytest.mark.parametrize("folder", ["train/clean", "Train/Denoise", "data/train/denoise", "denoising/BSD400"])
def test_clean_set_in_any_layout(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    save(tmp_path / folder / "x.png", colours())
    assert CleanSet("clean/train").pictures(str(tmp_path)) == [("x.png", tmp_path / folder / "x.png")]


def test_clean_set_that_is_not_there(tmp_path):
    with pytest.raises(UserError) as caught:
        CleanSet("clean/train").pictures(str(tmp_path))
    assert str(caught.value) == (
        f"root: {tmp_path}/train/clean: no such folder (in other layouts: Train/Denoise, denoising/BSD400, "
        "BSR/BSDS500/data/images/train)"
    )
    other = CleanSet("clean/val", otherwise=Photographs(("chelsea",)))
    assert [name for name, _ in other.pictures(str(tmp_path))] == ["chelsea"] and not other.needs_root


def test_grey_palette_and_alpha_become_rgb(tmp_path):
    grey = colours()[..., 0]
    save(tmp_path / "grey.png", grey)
    Image.fromarray(colours()).quantize(16).save(tmp_path / "palette.png")
    save(tmp_path / "rgba.png", np.dstack([colours(), grey]))
    loaded = dict(load(Folder(str(tmp_path))))
    assert np.array_equal(loaded["grey.png"], np.dstack([grey] * 3))
    assert loaded["palette.png"].shape == loaded["rgba.png"].shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda p: None, "nowhere: no such folder$"),
        (lambda p: p.mkdir(), "nowhere: holds no images; put files of these kinds there: .*bmp gif .*jpeg jpg"),
        (lambda p: p.write_text(""), "nowhere: is not a folder"),
    ],
)
def test_folder_errors(tmp_path, spoil, text):
    spoil(tmp_path / "nowhere")
    with pytest.raises(UserError, match=text) as caught:
        load(Folder("nowhere"), str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text, not an image", None])
def test_unreadable_file_is_named(tmp_path, content):
    save(tmp_path / "good.png", colours(200, 200))
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(data[: len(data) // 2] if content is None else content)
    with pytest.raises(UserError, match="bad.png: .*replace or remove the file"):
        load(Folder(str(tmp_path)))


def test_photographs_ship_with_the_wheel():
    loaded = load(Photographs(("astronaut", "coins")))
    assert [(name, image.shape) for name, image in loaded] == [("astronaut", (512, 512, 3)), ("coins", (303, 384, 3))]


def test_unknown_photograph():
    with pytest.raises(UserError, match="ships no picture 'astronaot'; did you mean astronaut?"):
        load(Photographs(("astronaot",)))


@pytest.fixture(scope="module")
def leaves():
    return [image for _, image in load(DeadLeaves(count=6, size=256))]


def test_leaves_are_a_function_of_seed_and_position(leaves):
    again = load(DeadLeaves(count=2, size=256))
    assert np.array_equal(again[1][1], leaves[1]) and not np.array_equal(leaves[0], leaves[1])
    other = load(DeadLeaves(count=1, size=256, seed=1))
    assert not np.array_equal(other[0][1], leaves[0])


def test_leaves_are_drawn_when_they_are_read_and_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(sources, "dead_leaves", lambda size, rng: drawn.append(size) or dead_leaves(size, rng))
    (_, one), (_, other) = DeadLeaves(count=2, size=24, seed=7).pictures()
    assert one.shape == (24, 24, 3) and one != other and not drawn
    (_, again), _ = DeadLeaves(count=2, size=24, seed=7).pictures()
    assert one.pixels() is again.pixels() and drawn == [24]


def test_leaves_have_the_statistics_of_photographs(leaves):
    """1/f spectrum, heavy-tailed derivatives, correlated colours: the reasons to use them."""
    grey = np.stack(leaves).astype(float).mean(3)
    step = np.diff(grey, axis=2)
    assert (step**4).mean() / step.var() ** 2 > 10  # a Gaussian has 3
    grey -= grey.mean((1, 2), keepdims=True)
    power = np.mean([np.abs(np.fft.fft2(g * np.outer(np.hanning(256), np.hanning(256)))) ** 2 for g in grey], axis=0)
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None]) * 256
    bands = [(4, 8), (8, 16), (16, 32), (32, 64)]
    energy = [power[(radius >= low) & (radius < high)].mean() for low, high in bands]
    slope = np.polyfit(np.log([np.sqrt(low * high) for low, high in bands]), np.log(energy), 1)[0]
    assert -2.9 < slope < -1.2  # photographs: about -2
    flat = np.stack(leaves).reshape(-1, 3).astype(float)
    assert np.corrcoef(flat.T)[np.triu_indices(3, 1)].min() > 0.5


@pytest.mark.parametrize("size", [16, 33, 100])
def test_leaves_of_odd_sizes(size):
    image = dead_leaves(size, np.random.default_rng(0))
    assert image.shape == (size, size, 3) and image.dtype == np.uint8 and image.std() > 5

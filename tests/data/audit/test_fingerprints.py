"""Fingerprints: the same scene is recognised, another one is not."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data as photographs

from daair.data.audit.fingerprints import LENGTH, SAME_SCENE, fingerprint, matches, thumbnail
from daair.data.degradations import haze, noise, rain

NAMES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "motorcycle",
    "retina",
    "immunohistochemistry",
    "hubble_deep_field",
)


def load(name: str) -> Image.Image:
    picture = photographs.stereo_motorcycle()[0] if name == "motorcycle" else getattr(photographs, name)()
    return Image.fromarray(picture)


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    return {name: load(name) for name in NAMES}


def of(picture: Image.Image) -> np.ndarray:
    return fingerprint(thumbnail(picture))


def jpeg(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def degraded(function, **options):
    return lambda p: Image.fromarray(function(np.asarray(p), np.random.default_rng(0), **options))


CHANGES = {
    "jpeg": lambda p: jpeg(p, 30),
    "grey": lambda p: p.convert("L"),
    "half size": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC),
    "other shape": lambda p: p.resize((256, 256), Image.Resampling.BICUBIC),
    "rain": degraded(rain),
    "haze": degraded(haze),
    "noise": degraded(noise, sigma=25),
    "cut to multiples of 16": lambda p: p.crop((0, 0, p.width // 16 * 16, p.height // 16 * 16)),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned left": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned right": lambda p: p.transpose(Image.Transpose.ROTATE_270),
    "turned about": lambda p: p.transpose(Image.Transpose.ROTATE_180),
    "transposed": lambda p: p.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda p: p.transpose(Image.Transpose.TRANSVERSE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_scene_is_recognised_whatever_happened_to_its_file(pictures, change):
    names = ("astronaut", "chelsea", "coffee", "rocket")
    found = matches([of(pictures[n]) for n in names], [of(CHANGES[change](pictures[n])) for n in names])
    assert found == [(i, i) for i in range(len(names))]


def test_different_scenes_are_not_taken_for_the_same(pictures):
    prints = [of(picture) for picture in pictures.values()]
    assert matches(prints) == []
    assert max(abs(float(a @ b)) for a, b in combinations(prints, 2)) < SAME_SCENE - 0.2


def test_each_pair_within_a_set_is_told_once(pictures):
    prints = [of(pictures["coffee"]), of(pictures["rocket"]), of(ImageOps.mirror(pictures["coffee"]))]
    assert matches(prints) == [(0, 2)]
    assert matches([]) == [] == matches(prints, []) == matches([], prints)


def test_the_fingerprint_is_of_unit_length_and_none_for_flat_pictures(pictures):
    one = of(pictures["coffee"])
    assert one.shape == (LENGTH,) and one.dtype == np.float32 and np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    flat = of(Image.new("RGB", (40, 30), (200, 10, 10)))
    assert not flat.any() and matches([flat], [flat]) == []


def test_more_pictures_than_a_block_are_all_compared():
    rng = np.random.default_rng(0)
    prints = rng.normal(size=(1300, LENGTH)).astype(np.float32)
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    found = matches([*prints, prints[1200], prints[3]])
    assert set(found) == {(1200, 1300), (3, 1301)}


def test_of_the_pack_no_two_photographs_are_confused(data_root):
    files = sorted((data_root / "val/clean").iterdir()) + sorted((data_root / "denoising/kodak24").iterdir())
    assert matches([of(Image.open(file)) for file in files]) == []


def test_rain_does_not_hide_a_scene(data_root):
    folder = data_root / "deraining/rain100l/test"
    numbers = [file.stem.removeprefix("rain-") for file in sorted((folder / "input").iterdir())][:12]
    rainy = [of(Image.open(folder / f"input/rain-{n}.png")) for n in numbers]
    clean = [of(Image.open(folder / f"target/norain-{n}.png")) for n in numbers]
    found = set(matches(rainy, clean))
    assert found >= {(i, i) for i in range(len(numbers))}
    twice = set(matches(clean))
    assert {pair for pair in found if pair[0] != pair[1]} == twice | {(b, a) for a, b in twice}

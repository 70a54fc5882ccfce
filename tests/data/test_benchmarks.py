"""Benchmark inputs depend on nothing but the benchmark and the image."""

import inspect
from functools import partial

import numpy as np
import pytest
import yaml
from helpers import ROOT
from PIL import Image

from daair import components
from daair.data import images
from daair.data.benchmarks import BENCHMARKS, DEGRADED, define, load_benchmark, why_missing
from daair.errors import UserError
from daair.metrics import PROTOCOLS


@pytest.fixture
def root(tmp_path):
    """A small pack: 3 clean pictures for denoising, 2 rainy pairs."""
    rng = np.random.default_rng(0)
    for folder, names in {
        "denoising/cbsd68": ["10.png", "9.png", "x.png"],
        "deraining/rain100l/test/input": ["rain-1.png", "rain-2.png"],
        "deraining/rain100l/test/target": ["norain-1.png", "norain-2.png"],
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            picture = rng.integers(0, 256, (33, 50, 3), dtype=np.uint8)
            picture[0, 0] = 100 + int("".join(filter(str.isdigit, name)) or 0)  # tells which is which
            Image.fromarray(picture).save(tmp_path / folder / name)
    return tmp_path


def test_inputs_do_not_depend_on_subset_or_order(root):
    forward = {item.name: item.pair() for item in load_benchmark("cbsd68_sigma25", root)}
    assert list(forward) == ["9.png", "10.png", "x.png"]
    for item in reversed(load_benchmark("cbsd68_sigma25", root)[1:]):
        for a, b in zip(item.pair(), forward[item.name], strict=True):
            assert np.array_equal(a, b)
    (root / "denoising/cbsd68/9.png").unlink()
    assert np.array_equal(load_benchmark("cbsd68_sigma25", root)[0].pair()[0], forward["10.png"][0])


def test_cropped_before_degrading(root):
    degraded, target = load_benchmark("cbsd68_sigma15", root)[0].pair()
    assert degraded.shape == target.shape == (32, 48, 3) and degraded.dtype == np.uint8
    stored = np.asarray(Image.open(root / "denoising/cbsd68/9.png"))
    assert np.array_equal(target, stored[0:32, 1:49])
    error = degraded.astype(int) - target
    assert 9 < error.std() < 16


def test_noise_differs_between_images_and_levels(root):
    first, second = (item.pair() for item in load_benchmark("cbsd68_sigma15", root)[:2])
    other = load_benchmark("cbsd68_sigma25", root)[0].pair()
    assert np.array_equal(first[1], other[1])
    assert np.corrcoef((first[0] - 1.0 * first[1]).ravel(), (second[0] - 1.0 * second[1]).ravel())[0, 1] < 0.2


def test_pairs_belong_together(root):
    items = load_benchmark("rain100l", root)
    assert [item.name for item in items] == ["rain-1.png", "rain-2.png"]
    stored = np.asarray(Image.open(root / "deraining/rain100l/test/target/norain-2.png"))
    assert np.array_equal(items[1].pair()[1], stored[0:32, 1:49])


def test_half_a_pair_and_unequal_pairs(root):
    folder = root / "deraining/rain100l/test/target"
    Image.fromarray(np.zeros((48, 50, 3), np.uint8)).save(folder / "norain-2.png")
    with pytest.raises(UserError, match=r"rain100l: rain-2.png: input and target differ in size \(50x33 and 50x48\)"):
        load_benchmark("rain100l", root)[1].pair()
    (folder / "norain-1.png").unlink()
    with pytest.raises(UserError, match="rain-1.png: no clean image 'norain-1' in "):
        load_benchmark("rain100l", root)


def test_too_small_an_image(root):
    Image.fromarray(np.zeros((10, 50, 3), np.uint8)).save(root / "denoising/cbsd68/9.png")
    with pytest.raises(UserError, match="cbsd68_sigma15: 9.png: 50x10 is smaller than the 16 pixels"):
        load_benchmark("cbsd68_sigma15", root)[0].pair()


def test_unknown_and_missing(root, tmp_path):
    with pytest.raises(UserError, match="benchmarks: 'rain100' is unknown; did you mean rain100l?"):
        load_benchmark("rain100", root)
    with pytest.raises(UserError, match="^root: needed by benchmark rain100l"):
        load_benchmark("rain100l")
    with pytest.raises(UserError, match="elsewhere.*: no such folder, but benchmark cbsd68_sigma15 needs it"):
        load_benchmark("cbsd68_sigma15", tmp_path / "elsewhere")
    names = ["rain100l", "demo_rain", "cbsd68_sigma50"]
    assert [why_missing(name, root) for name in names] == [None] * 3
    assert [name for name in names if why_missing(name) is None] == ["demo_rain"]
    with pytest.raises(UserError, match="unknown"):
        why_missing("demo_fog")


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("demo_")])
def test_demo_needs_no_files(name):
    items = load_benchmark(name)
    assert [item.name for item in items] == ["astronaut", "chelsea", "coffee"]
    degraded, target = items[1].pair()
    whole = PROTOCOLS[BENCHMARKS[name].protocol].multiple == 1
    assert target.shape == ((300, 451, 3) if whole else (288, 448, 3)) and not np.array_equal(degraded, target)


def test_both_kinds_of_noise_are_benchmarks_of_their_own(root):
    """AirNet's is clipped and truncated to 8 bits; the classic one is neither, by the classic protocol."""
    for dataset in ("cbsd68", "kodak24", "mcmaster", "urban100"):
        for level in (15, 25, 50):
            made = [BENCHMARKS[f"{dataset}_{kind}{level}"] for kind in ("sigma", "awgn")]
            assert [one.protocol for one in made] == ["promptir", "basicsr_rgb"]
            assert [one.label for one in made] == [f"noise{level}", "awgn"]
    degraded, target = load_benchmark("cbsd68_awgn50", root)[0].pair()
    assert target.shape == (33, 50, 3) and target.dtype == np.uint8 and degraded.dtype == np.float32
    assert degraded.min() < 0 and degraded.max() > 1
    again = load_benchmark("cbsd68_awgn50", root)
    assert np.array_equal(again[0].pair()[0], degraded)
    noise = [pair[0] - pair[1] / 255 for pair in (item.pair() for item in again[:2])]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def test_ones_own_photographs_with_classic_noise_are_measured_by_its_protocol(root):
    own = define("mine", target=str(root / "denoising/cbsd68"), degrade="awgn25")
    assert own.protocol == "basicsr_rgb"
    assert define("mine", target="x", degrade="awgn25", protocol="moceir").protocol == "moceir"
    assert define("mine", target="x", degrade="sigma25").protocol == "promptir"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_of_16_bits_stay_what_they_are(tmp_path, suffix):
    rng = np.random.default_rng(0)
    parts = ("input", "target")
    stored = {part: np.float32(rng.integers(0, 65536, (33, 50, 3))) / np.float32(65535) for part in parts}
    for part, rgb in stored.items():
        images.write(tmp_path / part / f"1{suffix}", images.PictureFile(rgb, bits=16))
    folders = {part: str(tmp_path / part) for part in stored}
    (item,) = load_benchmark(define("mine", **folders))
    for image, part in zip(item.pair(), stored, strict=True):
        assert image.dtype == np.float32 and np.array_equal(image, stored[part][0:32, 1:49])
    (item,) = load_benchmark(define("noisy", target=folders["target"], degrade="awgn25", protocol="promptir"))
    degraded, target = item.pair()
    assert np.abs(target * 255 - np.rint(target * 255)).max() > 0.4
    assert PROTOCOLS["promptir"].of_inputs.psnr(degraded, target) == pytest.approx(20.17, abs=0.3)


@pytest.mark.parametrize("dataset", ["cbsd68", "kodak24", "mcmaster"])
def test_classic_noise_has_the_psnr_of_its_definition(data_root, dataset):
    protocol = PROTOCOLS["basicsr_rgb"].of_inputs
    for level, expected in ((15, 24.61), (25, 20.17), (50, 14.15)):
        psnr = [protocol.psnr(*item.pair()) for item in load_benchmark(f"{dataset}_awgn{level}", data_root)]
        assert np.mean(psnr) == pytest.approx(expected, abs=0.01) and np.ptp(psnr) < 0.1


def test_the_pack_is_what_its_readme_says(data_root):
    """25.37 dB RGB over the 50 pairs of Rain100L; noise near its nominal PSNR, a little above for being clipped."""
    psnr = PROTOCOLS["promptir"].psnr
    pairs = [item.pair() for item in load_benchmark("rain100l", data_root)]
    assert len(pairs) == 50 and np.mean([psnr(*pair) for pair in pairs]) == pytest.approx(25.37, abs=0.03)
    items = load_benchmark("cbsd68_sigma25", data_root)
    assert len(items) == 34 and psnr(*items[0].pair()) == pytest.approx(20 * np.log10(255 / 25), abs=0.8)


@pytest.mark.parametrize("name", [name for name, made in DEGRADED.items() if not isinstance(made.degrade, partial)])
def test_benchmarks_degrade_as_the_mixes_do(name: str) -> None:
    """A benchmark such as `cbsd68_haze` takes the function's defaults, a mix the values of `conf/degradation`."""
    trained = components.build(yaml.safe_load((ROOT / "conf" / "degradation" / f"{name}.yaml").read_text()))
    defaults = inspect.signature(DEGRADED[name].degrade).parameters
    assert trained.func is DEGRADED[name].degrade and trained.keywords
    for key, value in trained.keywords.items():
        assert defaults[key].default == (tuple(value) if isinstance(value, list) else value), key

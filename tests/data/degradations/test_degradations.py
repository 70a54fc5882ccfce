"""Degradations do to images what their literature says, and nothing else."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daair.data.degradations import BRIGHTEST_STREAK, awgn, haze, noise, one_of, rain, scatter, smooth_depth
from daair.data.images import read_rgb
from daair.data.sources import Folder

ALL = {"noise": partial(noise, sigma=25), "rain": rain, "haze": haze}
LEVELS = {str(sigma): partial(noise, sigma=sigma) for sigma in (15, 25, 50)}
ALL["levels"] = partial(one_of, choices=LEVELS)


def grey(value: int, height: int = 128, width: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25)
@given(
    image=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))), seed=st.integers(0, 2**32)
)
def test_pure_and_shape_preserving(name, image, seed):
    before = image.copy()
    image.setflags(write=False)
    first = ALL[name](image, np.random.default_rng(seed))
    second = ALL[name](image, np.random.default_rng(seed))
    assert np.array_equal(image, before)
    assert first.shape == image.shape and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.shares_memory(first, image)


@pytest.mark.parametrize("name", ALL)
def test_seeds_differ(name):
    draw = [ALL[name](grey(90), np.random.default_rng(seed)) for seed in range(3)]
    assert not np.array_equal(draw[0], draw[1]) and not np.array_equal(draw[1], draw[2])


@pytest.mark.parametrize("name", ALL)
def test_views_give_what_copies_give(name):
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    view = np.rot90(image)[5:45, 3:40][:, ::-1]
    degraded = ALL[name](view, np.random.default_rng(1))
    assert np.array_equal(degraded, ALL[name](np.ascontiguousarray(view), np.random.default_rng(1)))


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_has_its_sigma_and_the_bias_of_truncation(sigma):
    error = noise(grey(128, 400, 400), np.random.default_rng(sigma), sigma=sigma).astype(float) - 128
    # Within the range nothing is clipped at 15 and 25; truncation takes half a level (variance + 1/12).
    expected = np.sqrt(sigma**2 + 1 / 12) if sigma < 50 else pytest.approx(49.4, abs=0.4)
    assert error.std() == pytest.approx(expected, rel=0.01) if sigma < 50 else error.std() == expected
    assert error.mean() == pytest.approx(-0.5, abs=4 * sigma / np.sqrt(error.size))


def test_noise_is_clipped_not_wrapped():
    dark = noise(grey(0, 200, 200), np.random.default_rng(0), sigma=25)
    bright = noise(grey(255, 200, 200), np.random.default_rng(0), sigma=25)
    assert (dark == 0).mean() == pytest.approx(0.5 + 1 / 25 * 0.399, abs=0.01)  # below 1 truncates to 0, too
    assert (bright == 255).mean() == pytest.approx(0.5, abs=0.01)
    assert dark.max() < 150 and bright.min() > 100


def test_noise_is_white():
    error = noise(grey(128, 256, 256), np.random.default_rng(0), sigma=25).astype(float) - 127.5
    for shifted in (np.roll(error, 1, 0), np.roll(error, 1, 1), np.roll(error, 1, 2)):
        assert abs((error * shifted).mean()) < 0.02 * 25**2


def test_no_noise_is_no_change():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(noise(image, np.random.default_rng(0), sigma=0), image)


def test_scattering_formula_exactly():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    depth = rng.uniform(0, 12, (24, 32)).astype(np.float32)
    t = np.exp(-0.13 * depth.astype(np.float64))[..., None]
    expected = 255 * (image / 255 * t + 0.9 * (1 - t))
    result = scatter(image, depth, airlight=0.9, beta=0.13)
    assert np.abs(result - expected).max() <= 0.5 + 1e-3


def test_haze_is_the_formula_over_its_own_depth():
    """The draws of `haze`, made again in the open."""
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    rng = np.random.default_rng(8)
    beta, airlight = rng.uniform(0.04, 0.2), rng.uniform(0.8, 1.0)
    depth = smooth_depth(rng, 50, 70, near=0.5, far=8, scale=480)
    expected = scatter(image, depth, airlight=airlight, beta=beta)
    assert np.array_equal(haze(image, np.random.default_rng(8)), expected)


def test_no_haze_where_beta_is_zero_and_only_airlight_far_away():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(haze(image, np.random.default_rng(0), beta=(0, 0)), image)
    far = haze(image, np.random.default_rng(0), beta=(9, 9), depth=(9, 9), airlight=(0.8, 0.8))
    assert np.all(far == 204)


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (321, 481), (481, 321), (700, 900)])
def test_depth_is_in_range_and_slow(size):
    crops = [smooth_depth(np.random.default_rng(seed), *size, near=1, far=9, scale=480) for seed in range(20)]
    for depth in crops:
        assert depth.shape == size and depth.dtype == np.float32
        assert depth.min() >= 1 and depth.max() <= 9
        step = max(np.abs(np.diff(depth, axis=0)).max(), np.abs(np.diff(depth, axis=1)).max())
        assert step < 0.1  # per pixel, of a range of 8: no edges
    assert np.mean([d[: size[0] // 4].mean() > d[-size[0] // 4 :].mean() for d in crops]) > 0.6  # farther above


def test_crops_see_a_part_of_the_depth_range():
    crops = [smooth_depth(np.random.default_rng(seed), 64, 64, near=0, far=1, scale=480) for seed in range(100)]
    assert np.mean([np.ptp(depth) for depth in crops]) < 0.35  # one crop: little
    assert np.std([depth.mean() for depth in crops]) > 0.15  # from crop to crop: much


def test_rain_only_brightens_and_is_grey():
    image = grey(40, 200, 200)
    added = rain(image, np.random.default_rng(0)).astype(int) - image
    assert added.min() == 0 and 0 < added.max() <= BRIGHTEST_STREAK
    assert np.array_equal(added[..., 0], added[..., 1]) and np.array_equal(added[..., 0], added[..., 2])


def test_rain_saturates_at_white():
    assert np.all(rain(grey(255), np.random.default_rng(0)) == 255)


def test_rain_parameters_do_what_they_say():
    def layer(seed=0, **overrides):
        one = {"density": (40, 40), "length": (30, 30), "angle": (0, 0), "width": (2, 2), "intensity": (30, 30)}
        return rain(grey(0, 300, 300), np.random.default_rng(seed), **(one | overrides))[..., 0].astype(float)

    assert layer(density=(80, 80)).mean() == pytest.approx(2 * layer().mean(), rel=0.2)
    assert layer(intensity=(60, 60)).mean() == pytest.approx(2 * layer().mean(), rel=0.2)
    assert layer(length=(60, 60)).mean() == pytest.approx(2 * layer().mean(), rel=0.25)
    assert not layer(density=(0, 0)).any() and not layer(intensity=(0, 0)).any()


@pytest.mark.parametrize("angle", [-30, -10, 0, 20])
def test_rain_falls_in_its_direction(angle):
    layer = rain(grey(0, 300, 300), np.random.default_rng(1), angle=(angle, angle))[..., 0].astype(float)
    layer -= layer.mean()
    down = 12
    match = {a: (layer[:-down] * np.roll(layer, -round(down * np.tan(np.deg2rad(a))), 1)[down:]).mean()
             for a in (-30, -10, 0, 20)}  # fmt: skip
    assert max(match, key=match.get) == angle


def test_rain_has_no_empty_border():
    mean = np.mean([rain(grey(0, 100, 100), np.random.default_rng(s))[..., 0] for s in range(150)], axis=0)
    inner = mean[20:80, 20:80].mean()
    for border in (mean[:6], mean[-6:], mean[:, :6], mean[:, -6:]):
        assert border.mean() == pytest.approx(inner, rel=0.25)


def test_crops_are_as_rainy_as_photographs():
    def share(size):
        layers = [rain(grey(0, *size), np.random.default_rng(s)) for s in range(40)]
        return np.mean([(layer > 20).mean() for layer in layers])

    assert share((64, 64)) == pytest.approx(share((321, 481)), rel=0.3)


def test_rain_is_like_rain100l(data_root):
    """Input PSNR of Rain100L's 50 pairs: 25.4 dB, spread 3.8 dB; covered by more than 20 levels: 9 % of the pixels."""
    psnr, covered = [], []
    for position, (_, file) in enumerate(Folder("val/clean").pictures(str(data_root))):
        image = read_rgb(file)
        added = rain(image, np.random.default_rng(position)).astype(float) - image
        psnr.append(10 * np.log10(255**2 / np.square(added).mean()))
        covered.append((added.max(2) > 20).mean())
    assert np.mean(psnr) == pytest.approx(25.4, abs=1.0)
    assert np.std(psnr) == pytest.approx(3.8, abs=1.2)
    assert np.mean(covered) == pytest.approx(0.09, abs=0.03)


def test_one_of_several_is_drawn_as_often_as_the_others():
    image, rng = grey(128, 32, 32), np.random.default_rng(0)
    deviations = np.array([one_of(image, rng, choices=LEVELS).std() for _ in range(600)])
    counts = [int((np.abs(deviations - sigma) < 5).sum()) for sigma in (15, 25, 50)]
    assert sum(counts) == 600 and min(counts) > 160


def test_one_of_several_may_be_in_floating_point():
    half = np.full((8, 8, 3), 0.5, np.float32)
    drawn = one_of(half, np.random.default_rng(0), choices={"awgn": partial(awgn, sigma=300)})
    assert drawn.dtype == np.float32 and drawn.max() > 1

"""Noise in floating point: its PSNR is what its sigma says, and degradations of 8 bits stay what they are beside it."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daair.data.degradations import awgn, compose, degraded, in_floats, jpeg, noise
from daair.metrics import PROTOCOLS
from daair.pixels import to_8_bit, to_float

IMAGES = arrays(np.uint8, st.tuples(st.integers(60, 90), st.integers(60, 90), st.just(3)), elements=st.integers(0, 255))
AS_IT_IS = PROTOCOLS["promptir"].of_inputs


@settings(max_examples=25)
@given(image=IMAGES, sigma=st.floats(0.5, 80), seed=st.integers(0, 2**32))
def test_psnr_of_the_noisy_image_is_that_of_its_sigma(image, sigma, seed):
    """Whatever the image shows, black and white too: n squares of unit normals have mean 1 and deviation (2/n)^0.5."""
    image.setflags(write=False)
    noisy = awgn(image, np.random.default_rng(seed), sigma=sigma)
    assert noisy.dtype == np.float32 and noisy.shape == image.shape
    chance = 10 / np.log(10) * np.sqrt(2 / image.size)
    assert AS_IT_IS.psnr(noisy, image) == pytest.approx(20 * np.log10(255 / sigma), abs=6 * chance)
    assert np.array_equal(noisy, awgn(image, np.random.default_rng(seed), sigma=sigma))


def test_nothing_is_clipped_or_rounded():
    """The noise on black is the noise on white; the protocols of pictures would see half of it."""
    black, white = (np.full((64, 64, 3), level, np.uint8) for level in (0, 255))
    on_black, on_white = (awgn(image, np.random.default_rng(0), sigma=25) for image in (black, white))
    assert np.allclose(on_black, on_white - 1, atol=1e-6) and on_black.min() < 0 < 1 < on_white.max()
    assert np.mean(on_black * 255 == np.rint(on_black * 255)) < 0.01
    assert PROTOCOLS["promptir"].psnr(on_black, black) - AS_IT_IS.psnr(on_black, black) > 2.9


def test_a_range_is_drawn_from():
    image = np.full((40, 40, 3), 128, np.uint8)
    noisy = [awgn(image, np.random.default_rng(seed), sigma=(5, 50)) for seed in range(30)]
    deviations = [255 * (one - to_float(image)).std() for one in noisy]
    assert 4 < min(deviations) < 15 and 40 < max(deviations) < 52


def test_pictures_of_16_bits_keep_them_where_the_degradation_can():
    fine = np.linspace(0, 1, 48 * 48 * 3, dtype=np.float32).reshape(48, 48, 3)
    assert np.allclose(degraded(fine, partial(awgn, sigma=0), np.random.default_rng(0)), fine)
    eight = degraded(fine, partial(noise, sigma=0), np.random.default_rng(0))
    assert eight.dtype == np.uint8 and np.array_equal(eight, to_8_bit(fine))


def test_compositions_go_through_both_depths():
    image = np.full((48, 48, 3), 250, np.uint8)
    steps = {"awgn": partial(awgn, sigma=25), "jpeg": partial(jpeg, quality=(90, 90))}
    clipped = degraded(image, partial(compose, steps=steps), np.random.default_rng(0))
    assert clipped.dtype == np.uint8
    kept = degraded(image, partial(compose, steps=dict(reversed(steps.items()))), np.random.default_rng(0))
    assert kept.dtype == np.float32 and kept.max() > 1


@pytest.mark.parametrize("wrong", [lambda i, rng: to_float(i), in_floats(lambda i, rng: i.astype(np.float64))])
def test_floats_of_unclear_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^returned float(32|64) of shape \(8, 9, 3\) for uint8 of shape "):
        degraded(np.zeros((8, 9, 3), np.uint8), wrong, np.random.default_rng(0))

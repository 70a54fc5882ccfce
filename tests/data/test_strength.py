"""Weak, medium and strong draws of a degradation."""

import numpy as np
import pytest

from daair.data.degradations import haze, noise
from daair.data.strength import strengths
from daair.metrics import PROTOCOLS

IMAGE = np.random.default_rng(0).integers(40, 200, (40, 50, 3), dtype=np.uint8)


def brighter(image, rng):
    """Adds 1 to 20 grey levels."""
    return image + np.uint8(rng.integers(1, 21))


def test_they_are_the_quantiles_of_input_psnr():
    drawn = strengths(IMAGE, brighter, "x", draws=41)
    assert list(drawn) == ["weak", "medium", "strong"]
    added = [int(draw.image[0, 0, 0]) - int(IMAGE[0, 0, 0]) for draw in drawn.values()]
    assert 1 <= added[0] <= 5 and 8 <= added[1] <= 14 and 16 <= added[2] <= 20, "90, 50, 10 % of the uniform draws"
    for draw, levels in zip(drawn.values(), added, strict=True):
        assert draw.psnr == PROTOCOLS["promptir"].psnr(draw.image, IMAGE) == pytest.approx(20 * np.log10(255 / levels))


def test_the_same_key_gives_the_same_pictures_and_another_one_others():
    first, again, other = (strengths(IMAGE, haze, key, draws=5) for key in "aab")
    assert all(np.array_equal(first[word].image, again[word].image) for word in first)
    assert not all(np.array_equal(first[word].image, other[word].image) for word in first)


def test_a_picture_of_16_bits_is_the_one_whose_psnr_is_told():
    image = IMAGE.astype(np.float32) / 255
    for draw in strengths(image, haze, "x", draws=5).values():
        assert draw.psnr == pytest.approx(PROTOCOLS["promptir"].psnr(draw.image, image))


def test_noise_of_a_fixed_level_is_no_weaker_than_strong():
    drawn = strengths(IMAGE, lambda image, rng: noise(image, rng, sigma=25), "n", draws=9)
    assert drawn["weak"].psnr - drawn["strong"].psnr < 0.3


@pytest.mark.parametrize("wrong", [lambda i, rng: i / 255, lambda i, rng: i[1:], lambda i, rng: None])
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(ValueError, match=r"returned .* for uint8 of shape \(40, 50, 3\)"):
        strengths(IMAGE, wrong, "x", draws=3)

"""Noise that is drawn from a table of quantiles, as trainings do for speed, is Gaussian all the same."""

import numpy as np
import pytest

from daair.data.degradations import noise, sensor
from daair.data.keyed import keyed_rng


def test_noise_from_a_table_is_gaussian():
    """Moments, shares beyond each level, and no correlation: what exact noise has, within sampling error."""
    values = sensor.quantiles().astype(np.float64)
    assert abs(values.mean()) < 1e-6 and values.var() == pytest.approx(1, abs=1e-6)
    assert (values**4).mean() == pytest.approx(3, abs=5e-3)
    image = np.full((401, 403, 3), 128, np.uint8)
    drawn, exact = (noise(image, keyed_rng(5), sigma=25, table=table).astype(float) - 128 for table in (True, False))
    assert drawn.mean() == pytest.approx(-0.5, abs=4 * 25 / np.sqrt(drawn.size))
    assert drawn.std() == pytest.approx(exact.std(), rel=0.005)
    for level in (-60, -40, -20, 0, 20, 40, 60):
        assert (drawn > level).mean() == pytest.approx((exact > level).mean(), abs=3e-3)
    centred = drawn - drawn.mean()
    for shift, axis in ((1, 0), (1, 1), (1, 2), (4, 1)):
        assert abs((centred * np.roll(centred, shift, axis)).mean()) < 25**2 * 5 / np.sqrt(drawn.size)


def test_noise_from_a_table_saturates():
    for level in (0, 255):
        image = np.full((9, 7, 3), level, np.uint8)
        noisy = noise(image, keyed_rng(level), sigma=[40, 50], table=True)
        assert noisy.shape == image.shape and noisy.dtype == np.uint8
        assert (noisy == level).mean() == pytest.approx(0.5, abs=0.2)
        assert np.array_equal(noisy, noise(image, keyed_rng(level), sigma=[40, 50], table=True))

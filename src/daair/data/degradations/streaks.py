"""Rain, as bright streaks over the image."""

from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from daair.data.degradations.ranges import Amounts, Angles, Counts, Image, Lengths, log_uniform

BRIGHTEST_STREAK = 204
"""Largest brightness, in grey levels of 255, that the rain adds in 50 pairs of Rain100L."""


def rain(
    image: Image,
    rng: np.random.Generator,
    *,
    density: Amounts = (30.0, 55.0),
    length: Lengths = (18.0, 72.0),
    angle: Angles = (-30.0, 30.0),
    width: Lengths = (1.2, 2.2),
    intensity: Amounts = (18.0, 75.0),
    layers: Counts = (1, 1),
    spread: Annotated[float, Interval(ge=0, le=30)] = 0.0,
) -> Image:
    """Add bright rain streaks, similar to Rain100L and, with several layers, to Rain100H.

    Rain100L (Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR 2017) composes
    `O = B + S`, as does this function: one grey layer `S` of motion-blurred streaks with a common direction is added to
    all channels and clipped at white. Density, typical length and intensity are drawn once for an image; each streak
    varies around them. The brightness of streaks is exponentially distributed (a few bright ones close to the camera,
    many faint ones further away), and a streak fades towards both ends. The defaults were fitted to the streak layers
    (input minus target) of 50 Rain100L pairs: fraction of covered pixels, percentiles of brightness, length and width
    of the autocorrelation, and input PSNR.

    Rain100H of the same paper adds several layers of dense streaks with somewhat different directions. The preset
    `conf/degradation/rain_heavy.yaml` was fitted to 6 of its pairs.

    Args:
        density: Streaks per 10,000 pixels in each layer.
        length: Typical streak length in pixels, drawn for each layer, uniformly in the logarithm.
        angle: Direction of fall in degrees from the vertical; positive angles lean to the right on the way down.
        width: Full width of a streak at half of its brightness, in pixels.
        intensity: Mean peak brightness that a streak adds, in grey levels of 255, drawn uniformly in the logarithm.
        layers: Number of layers of streaks, each clipped at `BRIGHTEST_STREAK`.
        spread: Largest difference in degrees between the direction of a further layer and that of the first.
    """
    shape = image.shape[:2]
    density_drawn, first_length = rng.uniform(*density), log_uniform(rng, *length)
    first_angle, brightness = rng.uniform(*angle), log_uniform(rng, *intensity)
    common = {"density": density_drawn, "widths": width, "intensity": brightness}
    layer = _streaks(rng, *shape, length=first_length, angle=first_angle, **common)
    further = rng.integers(layers[0], layers[1], endpoint=True) - 1 if layers[1] > 1 else 0
    for _ in range(further):
        leaning = first_angle + rng.uniform(-spread, spread)
        cv2.add(layer, _streaks(rng, *shape, length=log_uniform(rng, *length), angle=leaning, **common), dst=layer)
    return cv2.add(image, cv2.merge([layer, layer, layer]))


def _streaks(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    density: float,
    length: float,
    angle: float,
    widths: tuple[float, float],
    intensity: float,
) -> Image:
    """Draw one layer of rain: the brightness to add, uint8, (height, width).

    Each streak is evaluated row by row at the few columns around its axis, as a Gaussian across and a smooth taper
    along. This takes time only where there is rain, and is free of aliasing up to 60 degrees from the vertical.
    """
    longest = 2.0 * length
    slope = np.tan(np.deg2rad(angle))
    # Streaks may start outside the image: above by their length, and sideways by their largest drift.
    over, aside = longest, abs(slope) * longest + 3 * widths[1]
    count = rng.poisson(density * 1e-4 * (height + over) * (width + 2 * aside))
    if count == 0 or intensity == 0:
        return np.zeros((height, width), np.uint8)
    draw = rng.random((6, count), dtype=np.float32)
    cosine = np.float32(np.cos(np.deg2rad(angle)))
    top = draw[0] * np.float32(height + over) - np.float32(over)
    left = draw[1] * np.float32(width + 2 * aside) - np.float32(aside)
    rows = length * cosine * (0.4 + 1.2 * draw[2])
    left -= np.float32(slope) * 0.5 * rows
    sigma = (widths[0] + (widths[1] - widths[0]) * draw[3]) / np.float32(2.3548) / cosine
    lean = np.float32(slope) + np.float32(0.03) * (draw[4] - 0.5)
    peak = -np.log1p(-draw[5]) * np.float32(intensity)

    y = np.ceil(top)[:, None] + np.arange(int(longest) + 2, dtype=np.float32)  # (streaks, rows)
    along = (y - top[:, None]) / rows[:, None]
    keep = (along > 0) & (along < 1) & (y >= 0) & (y < height)
    which, _ = np.nonzero(keep)
    y, along = y[keep], along[keep]
    axis = left[which] + lean[which] * (y - top[which])

    # The canvas has a margin as wide as a streak, so that single pixels need no test whether they are inside.
    reach = int(np.ceil(3 * sigma.max()))
    seen = np.flatnonzero((axis > -reach - 1) & (axis < width + reach))
    which, y, along, axis = which[seen], y[seen], along[seen], axis[seen]
    centre = np.rint(axis)
    span = np.arange(-reach, reach + 1)
    value = (centre - axis)[:, None] + span.astype(np.float32)  # (points, columns)
    value /= sigma[which][:, None]
    value *= value
    value *= np.float32(-0.5)
    np.exp(value, out=value)
    value *= (peak[which] * _taper(along))[:, None]
    margin = 2 * reach + 1
    wide = width + 2 * margin
    flat = (y.astype(np.int64) * wide + centre.astype(np.int64) + margin)[:, None] + span
    layer = np.bincount(flat.ravel(), weights=value.ravel(), minlength=height * wide).reshape(height, wide)
    layer = layer[:, margin : margin + width]
    return np.minimum(layer, BRIGHTEST_STREAK).astype(np.uint8)


def _taper(along: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the relative brightness at positions in (0, 1) along a streak: 1 in the middle, 0 at both ends."""
    edge = np.minimum(along, 1 - along) * np.float32(2)
    return edge * (2 - edge)

"""Snow: bright flakes of many sizes in front of the scene, and a veil of flakes that are too far away to be visible."""

import numpy as np
from numpy.typing import NDArray

from daair.data.degradations.ranges import Amounts, Angles, Image, Lengths, Units

MARGIN = 1.6
"""Distance from a flake's centre, in radii, at which its brightness reaches 0; it begins to fall at 2 - MARGIN."""


def snow(
    image: Image,
    rng: np.random.Generator,
    *,
    density: Amounts = (15.0, 60.0),
    radius: Lengths = (0.7, 6.0),
    opacity: Units = (0.3, 0.95),
    stretch: Lengths = (1.0, 2.0),
    angle: Angles = (-45.0, 45.0),
    veil: Units = (0.0, 0.15),
    brightness: Units = (0.85, 1.0),
) -> Image:
    """Add falling snow, similar to Snow100K and CSD.

    Snow100K (Liu et al., "DesnowNet", TIP 2018) composes `I = J (1 - z) + A z` with masks `z` of translucent flakes
    in small, medium and large sizes; CSD (Chen et al., ICCV 2021) adds streaks of moving flakes and a veil. Here a
    flake is a soft-edged ellipse, elongated in the direction of its fall. Radii follow a power law (number ~
    radius ** -3, as for equal flakes at all distances), so most flakes are small, and a few are large.

    Args:
        density: Flakes per 10,000 pixels.
        radius: Smallest and largest radius of the flakes of each image, across their fall, in pixels.
        opacity: Fraction of the scene's light that a flake hides at its centre, drawn for each flake.
        stretch: Length of a flake along its fall divided by its width, due to motion during the exposure.
        angle: Direction of fall in degrees from the vertical.
        veil: Fraction of the scene's light that the uniform veil replaces.
        brightness: Grey level of flakes and veil in [0, 1]; 1 is white.
    """
    height, width = image.shape[:2]
    number, drawn_out, fall = rng.uniform(*density), rng.uniform(*stretch), np.deg2rad(rng.uniform(*angle))
    clear = np.float32(1 - rng.uniform(*veil))
    white = np.float32(255 * rng.uniform(*brightness))
    reach = MARGIN * radius[1] * drawn_out  # flakes may lie partly outside
    count = rng.poisson(number * 1e-4 * (height + 2 * reach) * (width + 2 * reach))
    place, size, hidden = rng.random((count, 2)), rng.random(count), rng.uniform(*opacity, count)
    place = place * (height + 2 * reach, width + 2 * reach) - reach
    small, large = radius[0] ** -2, radius[1] ** -2
    radii = (small - size * (small - large)) ** -0.5  # the power law's inverse distribution function
    through = clear * _transmission(height, width, place, radii, hidden, stretch=drawn_out, fall=fall)
    snowy = image - white  # (J - A) t + A, as for haze
    snowy *= through[..., None]
    snowy += white
    return np.rint(snowy, out=snowy).astype(np.uint8)


def _transmission(
    height: int,
    width: int,
    place: NDArray[np.float64],
    radii: NDArray[np.float64],
    hidden: NDArray[np.float64],
    *,
    stretch: float,
    fall: float,
) -> NDArray[np.float32]:
    """Return the fraction of the scene's light that passes the flakes, float32, (height, width).

    Flakes are drawn in groups of similar size, on squares that fit the largest flake of the group.
    """
    depth = np.zeros(height * width)  # optical depth adds up where flakes overlap
    group = np.ceil(np.log2(np.maximum(MARGIN * stretch * radii, 1))).astype(np.int64)
    for size in np.unique(group):
        which = np.flatnonzero(group == size)
        span = np.arange(-(2**size), 2**size + 1)
        centre = np.rint(place[which]).astype(np.int64)
        y, x = centre[:, :1] + span, centre[:, 1:] + span
        down, across = y - place[which, :1], x - place[which, 1:]
        down, across = down[:, :, None].astype(np.float32), across[:, None, :].astype(np.float32)
        along = down * np.float32(np.cos(fall)) + across * np.float32(np.sin(fall))
        beside = across * np.float32(np.cos(fall)) - down * np.float32(np.sin(fall))
        distance = np.hypot(along / np.float32(stretch), beside) / radii[which, None, None].astype(np.float32)
        soft = np.clip((np.float32(MARGIN) - distance) / np.float32(2 * MARGIN - 2), 0, 1)
        soft *= soft * (3 - 2 * soft)
        weight = -np.log1p(-np.minimum(hidden[which], 0.999)[:, None, None].astype(np.float32) * soft)
        inside = (weight > 0) & ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        at = (y * width)[:, :, None] + x[:, None, :]
        depth += np.bincount(at[inside], weights=weight[inside], minlength=depth.size)
    return np.exp(-depth).astype(np.float32).reshape(height, width)

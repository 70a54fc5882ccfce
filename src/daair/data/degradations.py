"""Degradations: what is done to a clean photograph, as pure functions of the image and a random generator.

Every function here has the form ``f(image, rng, *, parameters) -> image``. Images are uint8 RGB of shape ``(H, W, 3)``;
the input is never written to, and the same generator state gives the same output. Lengths are in pixels of the image,
so that a crop of a degraded photograph and a degraded crop look alike. A parameter given as a pair is a range: each
call draws its own value from it, uniformly unless said otherwise.

A new degradation is one more function here and one more entry under ``degradations`` in a file of ``conf/mix``.
"""

from typing import Annotated

import cv2
import numpy as np
from annotated_types import Ge, Gt, Interval, Predicate
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def low_to_high(pair: tuple[float, float]) -> bool:
    """Whether a range is the right way round."""
    return pair[0] <= pair[1]


_Angle = Annotated[float, Interval(ge=-60, le=60)]
_NonNegative = Annotated[float, Ge(0)]
_Positive = Annotated[float, Gt(0)]
_Unit = Annotated[float, Interval(ge=0, le=1)]
Angles = Annotated[tuple[_Angle, _Angle], Predicate(low_to_high)]
Lengths = Annotated[tuple[_Positive, _Positive], Predicate(low_to_high)]
Amounts = Annotated[tuple[_NonNegative, _NonNegative], Predicate(low_to_high)]
Units = Annotated[tuple[_Unit, _Unit], Predicate(low_to_high)]

BRIGHTEST_STREAK = 204
"""Most that a streak of Rain100L adds, in grey levels (the largest difference in its 50 pairs at hand)."""


def noise(image: Image, rng: np.random.Generator, *, sigma: Annotated[float, Interval(ge=0, le=255)]) -> Image:
    """Adds white Gaussian noise as the all-in-one papers do: on the 8-bit scale, clipped, then *truncated* to 8 bits.

    Truncation (not rounding) makes the mean half a grey level darker. AirNet and PromptIR train and test like this,
    so figures are comparable only if it is kept.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        sigma: Standard deviation in grey levels of 255.

    Returns:
        Noisy image, uint8, (H, W, 3).
    """
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(sigma)
    noisy += image
    np.clip(noisy, 0, 255, out=noisy)
    return noisy.astype(np.uint8)


def rain(
    image: Image,
    rng: np.random.Generator,
    *,
    density: Amounts = (30.0, 55.0),
    length: Lengths = (18.0, 72.0),
    angle: Angles = (-30.0, 30.0),
    width: Lengths = (1.2, 2.2),
    intensity: Amounts = (18.0, 75.0),
) -> Image:
    """Adds bright rain streaks, in the manner of Rain100L.

    Rain100L (Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR 2017) composes
    ``O = B + S``: one grey layer ``S`` of motion-blurred streaks with a common direction, added to all channels and
    saturating at white. Here, too. An image draws its density, typical length and intensity once; each streak then
    varies around them. Brightness of streaks is exponentially distributed (a few bright ones close to the camera, many
    faint ones further away), and a streak fades towards both ends. The defaults were fitted to the streak layers
    (input minus target) of 50 Rain100L pairs: covered share of pixels, percentiles of brightness, length and width of
    the autocorrelation, and the input PSNR.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        density: Streaks per 10,000 pixels.
        length: Typical streak length in pixels, drawn evenly in the logarithm.
        angle: Direction of fall in degrees from the vertical; positive leans to the right on the way down.
        width: Full width of a streak at half of its brightness, in pixels.
        intensity: Mean peak brightness that a streak adds, in grey levels of 255, drawn evenly in the logarithm.

    Returns:
        Rainy image, uint8, (H, W, 3).
    """
    height, width_px = image.shape[:2]
    layer = _streaks(
        rng,
        height,
        width_px,
        density=rng.uniform(*density),
        length=_log_uniform(rng, *length),
        angle=rng.uniform(*angle),
        widths=width,
        intensity=_log_uniform(rng, *intensity),
    )
    return cv2.add(image, cv2.merge([layer, layer, layer]))


def haze(
    image: Image,
    rng: np.random.Generator,
    *,
    airlight: Units = (0.8, 1.0),
    beta: Amounts = (0.04, 0.2),
    depth: Amounts = (0.5, 8.0),
    scale: _Positive = 480.0,
) -> Image:
    """Adds haze by the atmospheric scattering model ``I = J t + A (1 - t)``, ``t = exp(-beta d)``.

    The model is Koschmieder's, in the form of Narasimhan and Nayar (IJCV 2002). ``A`` and ``beta`` have the ranges that
    file names of RESIDE (Li et al., TIP 2019) state for outdoor images. There is no depth map for an arbitrary
    photograph, so ``d`` is generated: see :func:`smooth_depth`.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        airlight: Grey airlight ``A``; 1 is white.
        beta: Scattering coefficient per unit of depth.
        depth: Nearest and farthest depth of a scene, in the unit whose inverse is ``beta``'s (dimensionless together:
            by default ``beta d`` is 0.02 to 1.6). With it, a photograph of SOTS outdoor comes out at 16.3 dB on
            average; its own hazy version (A 0.8, beta 0.2) has 16.1 dB and, by the model, depths of 2.3 to 3.9.
        scale: Height in pixels over which a scene goes from near to far.

    Returns:
        Hazy image, uint8, (H, W, 3), rounded.
    """
    strength = rng.uniform(*beta)
    light = rng.uniform(*airlight)
    distance = smooth_depth(rng, image.shape[0], image.shape[1], near=depth[0], far=depth[1], scale=scale)
    return scatter(image, distance, airlight=light, beta=strength)


def scatter(image: Image, depth: NDArray[np.float32], *, airlight: float, beta: float) -> Image:
    """The haze formula itself, for a known depth.

    Args:
        image: Clean image, uint8, (H, W, 3).
        depth: Depth, float32, (H, W), in units of ``1 / beta``.
        airlight: ``A`` in [0, 1].
        beta: Scattering coefficient, at least 0.

    Returns:
        ``round(255 * (J t + A (1 - t)))``, uint8, (H, W, 3).
    """
    transmission = np.exp(np.float32(-beta) * depth)[..., None]
    white = np.float32(255 * airlight)
    hazy = image - white  # (J - A) t + A: the same formula with one product less
    hazy *= transmission
    hazy += white
    return np.rint(hazy, out=hazy).astype(np.uint8)


def smooth_depth(
    rng: np.random.Generator, height: int, width: int, *, near: float, far: float, scale: float
) -> NDArray[np.float32]:
    """Draws a depth map: far at the top, near at the bottom, with soft hills in between.

    The image is a window into a scene at least ``scale`` pixels high, at a random position; so a small crop sees a
    slowly varying part of it, as it would in a crop of a large hazy image.

    Args:
        rng: Source of all randomness.
        height: Rows of the image.
        width: Columns of the image.
        near: Smallest depth.
        far: Largest depth.
        scale: Height of a scene in pixels.

    Returns:
        Depth in [near, far], float32, (height, width).
    """
    scene = max(float(scale), float(height))
    top = rng.uniform(0, scene - height)
    tilt = rng.uniform(-0.25, 0.25)
    cell = scene / 3  # hills are about a third of the scene wide
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    hills = rng.uniform(-0.35, 0.35, size=(rows, columns)).astype(np.float32)
    # Cubic interpolation between the nodes, at a random offset; evaluating only the window keeps crops cheap.
    shift = rng.uniform(0, 1, size=2)
    placement = np.array([[1 / cell, 0, shift[1] + 0.5], [0, 1 / cell, shift[0] + 0.5]])
    relief = cv2.warpAffine(
        hills,
        placement,
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    down = (top + np.arange(height, dtype=np.float32)) / np.float32(scene)
    across = np.linspace(-tilt, tilt, width, dtype=np.float32) * np.float32(min(1.0, width / scene))
    relief += (1 - down)[:, None] + across
    np.clip(relief, 0, 1, out=relief)
    relief *= np.float32(far - near)
    relief += np.float32(near)
    return relief


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws from [low, high], evenly in the logarithm (evenly in the value if low is 0)."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if low > 0 else float(rng.uniform(low, high))


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
    """Draws one layer of rain.

    A streak is evaluated row by row at the few columns around its axis, as a Gaussian across and a smooth taper along.
    That costs time only where there is rain, and anti-aliases at any direction within 60 degrees of the vertical.

    Returns:
        Brightness to add, uint8, (height, width).
    """
    longest = 2.0 * length
    slope = np.tan(np.deg2rad(angle))
    # Streaks may start outside: above by their length, and sideways by as far as that lets them drift.
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
    glow = peak[which] * _taper(along)

    reach = int(np.ceil(3 * sigma.max()))
    x = np.rint(axis)[:, None] + np.arange(-reach, reach + 1, dtype=np.float32)  # (points, columns)
    value = (x - axis[:, None]) / sigma[which][:, None]
    value *= value
    value *= np.float32(-0.5)
    np.exp(value, out=value)
    value *= glow[:, None]
    inside = (x >= 0) & (x < width)
    flat = (y.astype(np.int64)[:, None] * width + x.astype(np.int64))[inside]
    layer = np.bincount(flat, weights=value[inside], minlength=height * width).reshape(height, width)
    return np.minimum(layer, BRIGHTEST_STREAK).astype(np.uint8)


def _taper(along: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness along a streak, for positions in (0, 1): full in the middle, fading smoothly over both ends."""
    edge = np.minimum(along, 1 - along) * np.float32(2)
    return edge * (2 - edge)

"""Dead leaves: generated images with the statistics of natural images.

Shapes of all sizes fall on top of each other and hide those below. With radii distributed as `r^-3`, the result is
scale invariant and has the edges, the `1/f` spectrum and the heavy-tailed derivatives of photographs (Lee, Mumford,
Huang, "Occlusion Models for Natural Images", IJCV 2001). Networks trained on such images denoise photographs nearly as
well as networks trained on photographs (Achddou, Gousseau, Ladjal, "Synthetic Images as a Regularity Prior for Image
Restoration Neural Networks", SSVM 2021), and learn useful features (Baradad et al., "Learning to See by Looking at
Noise", NeurIPS 2021).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST, LARGEST = 3.0, 128.0
"""Limits of the radii in pixels; the lower one is about the resolution of a lens, the upper one a large object."""

LAYERS = 5.0
"""Mean number of leaves over a pixel; a fraction exp(-LAYERS) of the background stays visible."""

_OVERSAMPLING = 2  # leaves are drawn twice as large without anti-aliasing, then averaged, which gives exact coverage
_TEXTURES = 6


def dead_leaves(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image: RGB, uint8, (size, size, 3)."""
    large = size * _OVERSAMPLING
    owner, radii, centres = _occlude(large, rng)
    count = len(radii)
    base = _colours(count, rng)

    # Each leaf has a linear shading and one of a few textures, scaled to the leaf's contrast.
    turn = rng.uniform(0, 2 * np.pi, count)
    shade = rng.laplace(0, 0.06, count) / np.maximum(radii, 8)
    ys, xs = np.mgrid[0:large, 0:large].astype(np.float32)
    slope = np.stack([shade * np.cos(turn), shade * np.sin(turn)], 1).astype(np.float32)
    offset = -(slope * centres).sum(1).astype(np.float32)
    light = slope[owner, 0] * xs + slope[owner, 1] * ys + offset[owner]
    textures = _textures(large, rng)
    kind = rng.integers(0, len(textures), count)
    contrast = (rng.exponential(0.05, count) * (rng.random(count) < 0.7)).astype(np.float32)
    flat = np.arange(large * large).reshape(large, large)
    light += contrast[owner] * textures.reshape(len(textures), -1)[kind[owner], flat]

    picture = base[owner] * np.exp2(3 * light)[..., None]
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    softness = rng.uniform(0, 0.8)  # lenses differ
    if softness > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), softness, borderType=cv2.BORDER_REFLECT)
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _occlude(size: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray, NDArray]:
    """Draw leaves on top of each other, `LAYERS` deep on average.

    Returns:
        The index of the leaf that is visible at each pixel, int32 (size, size); the radii (N,); the centres (N, 2) as
        x, y. Leaf 0 is the background.
    """
    small, big = SMALLEST * _OVERSAMPLING, min(LARGEST * _OVERSAMPLING, size / 2)
    mean_area = 2 * np.pi * small**2 * np.log(big / small) / (1 - (small / big) ** 2)
    count = int(LAYERS * (size + 2 * big) ** 2 / mean_area)
    radii = (small**-2 - rng.random(count) * (small**-2 - big**-2)) ** -0.5  # inverse of the r^-3 distribution
    centres = rng.uniform(-big, size + big, (count, 2))
    stretch = np.exp(rng.normal(0, 0.35, count))
    turn = rng.uniform(0, 180, count)
    form = rng.random(count)
    seen = np.all((centres > -1.5 * radii[:, None]) & (centres < size + 1.5 * radii[:, None]), axis=1)
    owner = np.zeros((size, size), np.int32)
    for i in np.flatnonzero(seen):
        half = (radii[i] * stretch[i], radii[i] / stretch[i])
        if form[i] < 0.5:
            # OpenCV's fixed-point coordinates count in 1/16 pixel here.
            centre = tuple(int(v) for v in np.rint(centres[i] * 16))
            axes = tuple(max(1, int(round(v * 16))) for v in half)
            cv2.ellipse(owner, centre, axes, turn[i], 0, 360, int(i), cv2.FILLED, cv2.LINE_8, 4)
        else:
            corners = 4 if form[i] < 0.75 else int(rng.integers(3, 8))
            cv2.fillConvexPoly(owner, _polygon(centres[i], half, turn[i], corners), int(i), cv2.LINE_8, 4)
    return owner, radii, centres.astype(np.float32)


def _polygon(centre: NDArray, half: tuple[float, float], turn: float, corners: int) -> NDArray[np.int32]:
    """Return the corners of a stretched regular polygon in units of 1/16 pixel, (corners, 1, 2)."""
    angle = np.arange(corners) * (2 * np.pi / corners) + np.pi / corners
    points = np.stack([np.cos(angle) * half[0], np.sin(angle) * half[1]], 1) * 1.25
    cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    points = points @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return np.rint(points * 16).astype(np.int32)[:, None]


def _colours(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw colours with the statistics of natural scenes: gamma-encoded RGB in [0, 1], float32, (count, 3).

    In the logarithm of cone responses, natural colours vary most along brightness, less along yellow-blue, and least
    along red-green, independently of each other (Ruderman, Cronin, Chiao, JOSA A 1998). Each image has its own mean and
    spread, as scenes have.
    """
    mood = rng.normal([np.log(0.3), 0.12, 0.02], [0.3, 0.12, 0.05])
    spread = np.array([0.55, 0.16, 0.07]) * np.exp(rng.normal(0, 0.3, 3))
    brightness = rng.normal(mood[0], spread[0], count)
    yellow = rng.laplace(mood[1], spread[1], count)
    red = rng.laplace(mood[2], spread[2], count)
    log_rgb = np.stack([brightness + yellow / 2 + red, brightness + yellow / 2 - red, brightness - yellow], 1)
    return np.clip(np.exp(log_rgb), 0.01, 1).astype(np.float32)


def _textures(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw textures of zero mean and unit variance, float32, (textures, size, size): coloured noise, and stripes."""
    fy = np.fft.fftfreq(size).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(size).astype(np.float32)[None]
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    fields = []
    for i in range(_TEXTURES):
        turn = rng.uniform(0, np.pi)
        cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        if i % 3 == 2:
            phase = (cosine * xs + sine * ys) * np.float32(2 * np.pi / rng.uniform(5, 24))
            fields.append(np.sqrt(2) * np.sin(phase))
            continue
        squeeze = np.float32(rng.uniform(1, 4))
        radius = np.hypot(cosine * fx + sine * fy, squeeze * (cosine * fy - sine * fx)) + np.float32(1 / size)
        spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
        field = np.fft.irfft2(spectrum * radius ** -np.float32(rng.uniform(0.6, 1.6)), s=(size, size))
        fields.append((field - field.mean()) / field.std())
    return np.stack(fields).astype(np.float32)

"""Haze: light scattered by the air, over a generated depth."""

import cv2
import numpy as np
from numpy.typing import NDArray

from daair.data.degradations.ranges import Amounts, Image, Positive, Units


def haze(
    image: Image,
    rng: np.random.Generator,
    *,
    airlight: Units = (0.8, 1.0),
    beta: Amounts = (0.04, 0.2),
    depth: Amounts = (0.5, 8.0),
    scale: Positive = 480.0,
) -> Image:
    """Add haze by the atmospheric scattering model `I = J t + A (1 - t)`, `t = exp(-beta d)`.

    The model is Koschmieder's, in the form of Narasimhan and Nayar (IJCV 2002). `A` and `beta` have the ranges that
    file names of RESIDE (Li et al., TIP 2019) state for outdoor images. There is no depth map for an arbitrary
    photograph, so `d` is generated: see `smooth_depth`.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        airlight: Grey airlight `A`; 1 is white.
        beta: Scattering coefficient per unit of depth.
        depth: Nearest and farthest depth of a scene, in the unit whose inverse is `beta`'s (dimensionless together:
            by default `beta d` is 0.02 to 1.6). With it, a photograph of SOTS outdoor comes out at 16.3 dB on
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
    """Apply the haze formula for a known depth.

    Args:
        image: Clean image, uint8, (H, W, 3).
        depth: Depth, float32, (H, W), in units of `1 / beta`.
        airlight: `A` in [0, 1].
        beta: Scattering coefficient, at least 0.

    Returns:
        `round(255 * (J t + A (1 - t)))`, uint8, (H, W, 3).
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
    """Draw a depth map: far at the top, near at the bottom, with soft hills in between.

    The image is a window into a scene at least `scale` pixels high, at a random position; so a small crop sees a
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

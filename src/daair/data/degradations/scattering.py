"""Haze by atmospheric scattering over a generated depth map."""

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

    The model is Koschmieder's, in the form of Narasimhan and Nayar (IJCV 2002). The ranges of `A` and `beta` are those
    in the file names of RESIDE's outdoor images (Li et al., TIP 2019). Photographs have no depth map, so `smooth_depth`
    generates `d`.

    Args:
        airlight: Grey airlight `A`; 1 is white.
        beta: Scattering coefficient per unit of depth.
        depth: Smallest and largest depth of a scene, in the inverse unit of `beta`; by default `beta d` is 0.02 to 1.6.
            With the defaults, a photograph of SOTS outdoor has an input PSNR of 16.3 dB on average; its hazy version in
            SOTS (A 0.8, beta 0.2) has 16.1 dB and, by the model, depths of 2.3 to 3.9.
        scale: Height in pixels over which the depth of a scene goes from far to near.
    """
    strength = rng.uniform(*beta)
    light = rng.uniform(*airlight)
    distance = smooth_depth(rng, image.shape[0], image.shape[1], near=depth[0], far=depth[1], scale=scale)
    return scatter(image, distance, airlight=light, beta=strength)


def scatter(image: Image, depth: NDArray[np.float32], *, airlight: float, beta: float) -> Image:
    """Apply the scattering model of `haze` with a given depth map.

    Args:
        image: Clean image, uint8, (H, W, 3).
        depth: Depth map, float32, (H, W), in the inverse unit of `beta`.
        airlight: Airlight `A` in [0, 1].
        beta: Scattering coefficient, at least 0.

    Returns:
        `round(255 * (J t + A (1 - t)))`, uint8, (H, W, 3).
    """
    transmission = np.exp(np.float32(-beta) * depth)[..., None]
    white = np.float32(255 * airlight)
    hazy = image - white  # (J - A) t + A is the same with one product less
    hazy *= transmission
    hazy += white
    return np.rint(hazy, out=hazy).astype(np.uint8)


def smooth_depth(
    rng: np.random.Generator, height: int, width: int, *, near: float, far: float, scale: float
) -> NDArray[np.float32]:
    """Draw a depth map in [near, far], float32, (height, width): far at the top, near at the bottom, with soft hills.

    The image is a window at a random position in a scene that is at least `scale` pixels high. The depth of a small
    crop thus varies slowly, as in a crop of a large hazy image.
    """
    scene = max(float(scale), float(height))
    top = rng.uniform(0, scene - height)
    tilt = rng.uniform(-0.25, 0.25)
    cell = scene / 3  # hills are about a third of the scene wide
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    hills = rng.uniform(-0.35, 0.35, size=(rows, columns)).astype(np.float32)
    # The hills are interpolated between the nodes at a random offset, for the window only.
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

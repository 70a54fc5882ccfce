"""Motion blur of a camera that moves while its shutter is open."""

import cv2
import numpy as np
from numpy.typing import NDArray

from daair.data.degradations.ranges import Amounts, Image, Lengths
from daair.data.degradations.transfer import LIGHT, encode

INSTANTS = 96
"""Number of points in time at which a trajectory is evaluated."""


def blur(
    image: Image,
    rng: np.random.Generator,
    *,
    length: Lengths = (2.0, 13.0),
    turn: Amounts = (0.0, 90.0),
    jolts: Amounts = (0.0, 1.0),
) -> Image:
    """Blur by a random camera trajectory, averaged in linear light as on a sensor.

    The point spread function, the same for the whole image, is a path drawn by `trajectory`, similar to Boracchi and
    Foi (TIP 2012) and DeblurGAN (Kupyn et al., CVPR 2018). The image is mirrored at its border.

    Args:
        length: Length of the path in pixels.
        turn: Standard deviation in degrees of the smooth change of direction over the exposure; 0 is a straight line.
        jolts: Expected number of abrupt changes of direction during the exposure.
    """
    path = trajectory(rng, length=rng.uniform(*length), turn=rng.uniform(*turn), jolts=rng.uniform(*jolts))
    return encode(cv2.filter2D(cv2.LUT(image, LIGHT), -1, path_kernel(path), borderType=cv2.BORDER_REFLECT_101))


def trajectory(rng: np.random.Generator, *, length: float, turn: float, jolts: float) -> NDArray[np.float64]:
    """Draw the path of the camera in the image plane: positions (x, y) in pixels, (INSTANTS, 2), with mean 0.

    The direction of motion is a random walk with occasional jolts, which turn it by any angle. The speed varies
    smoothly by a factor of up to 3. See `blur` for the parameters.
    """
    steps = INSTANTS - 1
    heading = rng.uniform(0, 2 * np.pi) + np.deg2rad(turn) * np.cumsum(rng.standard_normal(steps)) / np.sqrt(steps)
    jolted = rng.random(steps) < jolts / steps
    heading += np.cumsum(jolted * rng.uniform(-np.pi, np.pi, steps))
    speed = 2 + np.sin(np.linspace(0, rng.uniform(0, 2 * np.pi), steps) + rng.uniform(0, 2 * np.pi))
    speed *= length / speed.sum()
    path = np.zeros((INSTANTS, 2))
    np.cumsum(np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=1), axis=0, out=path[1:])
    return path - path.mean(axis=0)


def path_kernel(path: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the fraction of time that a path spends at each pixel, by bilinear interpolation.

    Args:
        path: Positions (x, y) in pixels at equal intervals of time, (N, 2).

    Returns:
        Kernel with sum 1, float32, with odd sides and position (0, 0) at its centre.
    """
    reach = int(np.ceil(np.abs(path).max()))
    side = 2 * reach + 1
    corner = np.floor(path).astype(np.int64)
    right, below = (path - corner).T
    at = (corner[:, 1] + reach) * side + corner[:, 0] + reach
    kernel = np.zeros(side * side + side + 2)  # the neighbours of the last pixel have weight 0 and lie outside
    for shift, weight in (
        (0, (1 - right) * (1 - below)),
        (1, right * (1 - below)),
        (side, (1 - right) * below),
        (side + 1, right * below),
    ):
        kernel += np.bincount(at + shift, weights=weight, minlength=kernel.size)
    return (kernel[: side * side].reshape(side, side) / len(path)).astype(np.float32)

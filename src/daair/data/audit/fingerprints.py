"""Fingerprints of images, which tell whether two files show the same scene despite re-encoding or resizing.

A fingerprint is the low-frequency part of an image's discrete cosine transform, as in the perceptual hash "pHash"
(Zauner, *Implementation and benchmarking of perceptual image hash functions*, 2010), with two differences. Coefficients
are multiplied by their frequency, because the amplitudes of natural images fall as 1/f (Field, JOSA A 1987), and all
images that are bright above and dark below would otherwise look like one scene. The coefficients are not rounded to
bits, because one matrix product compares all pairs of some thousand images anyway. The fingerprint of a mirrored or
rotated image follows by changing signs and transposing.

The similarity of two images is the cosine of their fingerprints. It was measured on 534 clean photographs (BSDS500,
Kodak, McMaster, LOL):

=================================================================  ===========
pairs                                                              similarity
=================================================================  ===========
different scenes, all 142,311 pairs in 8 poses                     at most 0.49
the same, 5,784 random crops of 120 to 300 pixels, 16.7 M pairs     at most 0.72
JPEG of quality 30                                                 at least 0.998
enlarged twice, halved, reduced to a quarter                       at least 0.998, 0.994, 0.968
Gaussian noise of sigma 25, 50                                     at least 0.993, 0.972
Rain100L's rainy against clean pictures, 50 pairs                  at least 0.845
borders of 2 % cut off on each side                                at least 0.886
synthetic haze                                                     at least 0.789
=================================================================  ===========

Images with heavy rain (Rain100H: 0.67) and crops that keep less than about 90 % of each side (0.42) are not reliably
recognised, so only clean targets are compared, never degraded inputs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SAME_SCENE = 0.75
"""Smallest cosine at which two images count as the same scene; see the table above."""

LENGTH = 256
"""Number of coefficients of a fingerprint."""

_SIDE = int(LENGTH**0.5)
_THUMBNAIL = 64
_SIGNS = np.where(np.arange(_SIDE) % 2, -1, 1).astype(np.float32)
_BLOCK = 1024  # rows of the similarity matrix that are computed at a time, which bounds the memory


def _weights() -> NDArray[np.float32]:
    """Return each coefficient's frequency in half cycles per image; 0 for the mean, linear gradients and the corner."""
    v, u = np.mgrid[:_SIDE, :_SIDE]
    frequency = np.hypot(v, u)
    return np.where((u + v < 2) | (frequency >= _SIDE), 0, frequency).astype(np.float32)


_WEIGHTS = _weights()


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    """Shrink an image of any mode to (64, 64, 3) by averaging over areas; the aspect ratio is not kept."""
    return np.asarray(picture.convert("RGB").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX))


def fingerprint(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the fingerprint of a `thumbnail`: 256 numbers of norm 1, or zeros for an image without content."""
    grey = small.astype(np.float32).mean(axis=2)
    if np.ptp(grey) < 2:  # an image of one flat colour shows no scene
        return np.zeros(LENGTH, np.float32)
    coefficients = dctn(grey, norm="ortho")[:_SIDE, :_SIDE] * _WEIGHTS
    norm = float(np.linalg.norm(coefficients))
    return (coefficients / norm if norm > 0 else coefficients).astype(np.float32).ravel()


def matches(
    first: Sequence[NDArray[np.float32]], second: Sequence[NDArray[np.float32]] | None = None
) -> list[tuple[int, int]]:
    """Find images of the same scene, also if one is mirrored or rotated by a multiple of 90 degrees.

    Args:
        first: Fingerprints.
        second: Fingerprints to compare with; None compares `first` with itself, each pair once.

    Returns:
        The positions of all pairs that reach `SAME_SCENE`, in the order of `first`, then `second`.
    """
    if not len(first) or (second is not None and not len(second)):
        return []
    a = np.stack(list(first)).astype(np.float32)
    b = a if second is None else np.stack(list(second)).astype(np.float32)
    poses = [np.ascontiguousarray(pose.T) for pose in _poses(b)]
    found = []
    for start in range(0, len(a), _BLOCK):
        rows = a[start : start + _BLOCK]
        cosine = rows @ poses[0]
        for pose in poses[1:]:
            np.maximum(cosine, rows @ pose, out=cosine)
        for i, j in np.argwhere(cosine >= SAME_SCENE).tolist():
            if second is not None or j > start + i:
                found.append((start + i, j))
    return found


def _poses(prints: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the fingerprints of the eight mirrored and rotated versions of each image, the identity first.

    Mirroring changes the signs of the odd coefficients along one axis; transposing the image transposes them.
    """
    square = prints.reshape(-1, _SIDE, _SIDE)
    poses = []
    for upright in (square, square.transpose(0, 2, 1)):
        for rows in (1, _SIGNS[:, None]):
            for columns in (1, _SIGNS[None, :]):
                poses.append((upright * rows * columns).reshape(len(prints), LENGTH))
    return poses

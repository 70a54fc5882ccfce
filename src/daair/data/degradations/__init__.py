"""Synthetic degradations of clean photographs, as pure functions of the image and a random generator.

Every function has the form `f(image, rng, *, parameters) -> image`. Images are uint8 RGB of shape `(H, W, 3)`; a
function marked with `in_floats` also takes and returns float32 with white at 1. `degraded` applies a degradation to an
image of either type. The input is not modified, and the same generator state gives the same output. Lengths are in
pixels of the image, so that a degraded crop looks like a crop of the degraded photograph. A parameter given as a pair
is a range: each call draws a value from it, uniformly unless stated otherwise.

To add a degradation, write a function, here or in any other package, and add a file to `conf/degradation`.
"""

from daair.data.degradations.composition import compose, one_of
from daair.data.degradations.compression import jpeg
from daair.data.degradations.depth import degraded, in_floats
from daair.data.degradations.flakes import snow
from daair.data.degradations.ranges import Degradation, Image
from daair.data.degradations.scattering import haze, scatter, smooth_depth
from daair.data.degradations.sensor import awgn, lowlight, noise
from daair.data.degradations.shake import blur
from daair.data.degradations.streaks import BRIGHTEST_STREAK, rain

__all__ = ["BRIGHTEST_STREAK", "Degradation", "Image", "awgn", "blur", "compose", "degraded", "haze", "in_floats"]
__all__ += ["jpeg", "lowlight", "noise", "one_of", "rain", "scatter", "smooth_depth", "snow"]

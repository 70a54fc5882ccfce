"""Synthetic degradations of clean photographs, as pure functions of the image and a random generator.

Every function has the form `f(image, rng, *, parameters) -> image`. Images are uint8 RGB of shape `(H, W, 3)`. The
input is not modified, and the same generator state gives the same output. Lengths are in pixels of the image, so that a
degraded crop looks like a crop of the degraded photograph. A parameter given as a pair is a range: each call draws a
value from it, uniformly unless stated otherwise.

To add a degradation, write a function, here or in any other package, and add a file to `conf/degradation`.
"""

from daair.data.degradations.composition import compose
from daair.data.degradations.compression import jpeg
from daair.data.degradations.flakes import snow
from daair.data.degradations.ranges import Degradation, Image
from daair.data.degradations.scattering import haze, scatter, smooth_depth
from daair.data.degradations.sensor import lowlight, noise
from daair.data.degradations.shake import blur
from daair.data.degradations.streaks import BRIGHTEST_STREAK, rain

__all__ = ["BRIGHTEST_STREAK", "Degradation", "Image", "blur", "compose", "haze", "jpeg", "lowlight", "noise", "rain"]
__all__ += ["scatter", "smooth_depth", "snow"]

"""Types that the degradations share: images, functions, and ranges of parameters with their valid values."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Predicate

from daair.pixels import Image

Degradation = Callable[[Image, np.random.Generator], Image]
"""A degradation with fixed parameters."""


def low_to_high(pair: tuple[float, float]) -> bool:
    """Return whether the first end of a range is at most the second."""
    return pair[0] <= pair[1]


NonNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Unit = Annotated[float, Interval(ge=0, le=1)]
Level = Annotated[float, Interval(ge=0, le=255)]
_Exposure = Annotated[float, Gt(0), Le(1)]
_Count = Annotated[int, Ge(1)]
_Angle = Annotated[float, Interval(ge=-60, le=60)]

Angles = Annotated[tuple[_Angle, _Angle], Predicate(low_to_high)]
"""Range of angles in degrees from the vertical."""
Lengths = Annotated[tuple[Positive, Positive], Predicate(low_to_high)]
"""Range of positive numbers, such as lengths in pixels."""
Amounts = Annotated[tuple[NonNegative, NonNegative], Predicate(low_to_high)]
Counts = Annotated[tuple[_Count, _Count], Predicate(low_to_high)]
Units = Annotated[tuple[Unit, Unit], Predicate(low_to_high)]
Exposures = Annotated[tuple[_Exposure, _Exposure], Predicate(low_to_high)]
"""Range of fractions in (0, 1]."""
Levels = Annotated[tuple[Level, Level], Predicate(low_to_high)]
"""Range of grey levels in [0, 255]."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw from [low, high] uniformly in the logarithm, or uniformly in the value if `low` is 0."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if low > 0 else float(rng.uniform(low, high))

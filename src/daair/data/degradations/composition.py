"""Several degradations of one image, one after the other or one of them."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from daair.data.degradations.depth import degraded, in_floats
from daair.data.degradations.ranges import Degradation
from daair.pixels import Image


@in_floats
def compose(
    image: Image,
    rng: np.random.Generator,
    *,
    steps: Annotated[Mapping[str, Degradation], MinLen(1)],
) -> Image:
    """Apply degradations in the given order, each to the result of the previous one.

    CDD-11 (Guo et al., "OneRestore", ECCV 2024) names its eleven sets by their steps: `low`, `haze`, `rain`,
    `snow`, `low_haze`, ..., `low_haze_snow`. Our configs apply the steps in the order of the name, from left to right;
    the authors' generator adds the haze last.

    Args:
        image: Clean image, uint8 or float32, (H, W, 3).
        rng: Random generator, which the steps share.
        steps: Degradations `(image, rng) -> image`, by names with which the command line can set a key of one step.

    Returns:
        Degraded image, (H, W, 3): uint8, or float32 if the last step returns it.
    """
    for step in steps.values():
        image = degraded(image, step, rng)
    return image


@in_floats
def one_of(
    image: Image,
    rng: np.random.Generator,
    *,
    choices: Annotated[Mapping[str, Degradation], MinLen(1)],
) -> Image:
    """Apply one of several degradations, each as likely as the others.

    One task of a mix then has several degradations under one label, such as all levels of noise.

    Args:
        image: Clean image, uint8 or float32, (H, W, 3).
        rng: Random generator, which draws the choice and then the degradation.
        choices: Degradations `(image, rng) -> image`, by names with which the command line can set a key of one.

    Returns:
        Degraded image, (H, W, 3), as the chosen degradation returns it.
    """
    chosen = list(choices.values())[rng.integers(len(choices))]
    return degraded(image, chosen, rng)

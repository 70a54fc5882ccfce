"""Lossy compression."""

from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval, Predicate

from daair.data.degradations.ranges import Image, low_to_high

Quality = Annotated[int, Interval(ge=1, le=100)]


def jpeg(
    image: Image,
    rng: np.random.Generator,
    *,
    quality: Annotated[tuple[Quality, Quality], Predicate(low_to_high)] = (10, 40),
) -> Image:
    """Compress as a JPEG file does: 8 x 8 blocks, colour at half the resolution (4:2:0), libjpeg's tables.

    The qualities 10, 20, 30 and 40 are those of the papers since ARCNN (Dong et al., ICCV 2015) to SwinIR; colour as
    in FBCNN (Jiang et al., ICCV 2021). Blocks begin at the image's corner, so that a crop has a grid of its own.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness.
        quality: Quality by libjpeg's scale, 1 (worst) to 100; both ends are drawn, too.

    Returns:
        The image after compression, uint8, (H, W, 3).
    """
    drawn = int(rng.integers(quality[0], quality[1], endpoint=True))
    _, code = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, drawn])
    return cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

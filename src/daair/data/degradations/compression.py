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
    """Compress by JPEG: 8 x 8 blocks, chroma at half the resolution (4:2:0), libjpeg's tables.

    The papers from ARCNN (Dong et al., ICCV 2015) to SwinIR use the qualities 10, 20, 30 and 40; images are in colour
    as in FBCNN (Jiang et al., ICCV 2021). The blocks begin at the corner of the image, here that of the crop.

    Args:
        quality: Quality on libjpeg's scale, 1 (worst) to 100; both ends of the range are included.
    """
    drawn = int(rng.integers(quality[0], quality[1], endpoint=True))
    _, code = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, drawn])
    return cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

"""Choose the sample images of an evaluation: for each benchmark those with the largest and smallest gain.

The choice is made during the evaluation, so only the chosen images are held in memory and sent between processes.
"""

import math
from typing import Any

from accelerate.utils import gather_object

from daair.runs.samples import LARGEST, SMALLEST, Sample, side_by_side

Extreme = tuple[int, str]  # number of the benchmark, and which of its gains


class SampleChoice:
    """The samples with the largest and the smallest gain of each benchmark so far.

    Args:
        side: Side of the samples in pixels; 0 keeps none.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._best: dict[Extreme, tuple[tuple[float, int], Sample]] = {}  # the sample with the lowest order

    def consider(self, crop: Any, rows: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> None:
        """Keep a measured crop if a row of the benchmark's first protocol has a larger or smaller gain than all before.

        A gain that is not finite counts for neither: a black image that was restored exactly shows nothing.

        Args:
            crop: A `daair.engine.measure.Crop`, restored.
            rows: The crop's rows with their positions: benchmark, protocol, image.
        """
        for (benchmark, protocol, image), row in rows:
            gain = row["psnr"] - row["input_psnr"]
            if not self.side or protocol != 0 or not math.isfinite(gain):
                continue
            pictures = None
            for which, order in ((LARGEST, (-gain, image)), (SMALLEST, (gain, image))):
                extreme = (benchmark, which)
                if extreme in self._best and self._best[extreme][0] <= order:
                    continue
                if pictures is None:
                    pictures = side_by_side(crop.degraded, crop.restored, crop.clean, self.side)
                names = {name: row[name] for name in ("benchmark", "protocol", "image", "input_psnr", "psnr")}
                self._best[extreme] = order, Sample(**names, which=which, strip=pictures)

    def gather(self) -> list[Sample]:
        """Return the samples of all processes, ordered by benchmark; every process must call this."""
        orders: dict[Extreme, tuple[float, int]] = {}
        for extreme, order in gather_object([(extreme, order) for extreme, (order, _) in self._best.items()]):
            orders[extreme] = min(order, orders.get(extreme, order))
        own = [(extreme, sample) for extreme, (order, sample) in self._best.items() if order == orders[extreme]]
        return [sample for _, sample in sorted(gather_object(own), key=lambda pair: pair[0])]

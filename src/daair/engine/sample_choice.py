"""Choose the sample images of an evaluation: largest gain, smallest gain, and the image that every run shows.

The choice is made during the evaluation, so only the chosen images are held in memory and sent between processes.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from accelerate.utils import gather_object

from daair.runs.samples import LARGEST, SHOWN, SMALLEST, Sample, corner, side_by_side

Place = tuple[int, str]  # number of the benchmark, and which of its samples


class SampleChoice:
    """The samples of each benchmark so far: the largest gain, the smallest gain, and the image that every run shows.

    Args:
        side: Side of the samples in pixels; 0 keeps none.
        shown: Names of the images to show by benchmark; of other benchmarks it is the first.
    """

    def __init__(self, side: int, shown: Mapping[str, str] | None = None) -> None:
        self.side, self.shown = side, shown or {}
        self._best: dict[Place, tuple[tuple[float, int], Sample]] = {}  # the sample with the lowest order

    def consider(self, crop: Any, rows: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> None:
        """Keep a measured crop if a row of the benchmark's first protocol comes before all others in one of the orders.

        A gain that is not finite is neither large nor small: a black image that was restored exactly shows nothing.

        Args:
            crop: A `daair.engine.measure.Crop`, restored.
            rows: The crop's rows with their positions: benchmark, protocol, image.
        """
        for (benchmark, protocol, image), row in rows:
            if not self.side or protocol != 0:
                continue
            pictures = None
            for which, order in self._orders(row, image):
                place = (benchmark, which)
                if place in self._best and self._best[place][0] <= order:
                    continue
                if pictures is None:
                    pictures = side_by_side(crop.degraded, crop.restored, crop.clean, self.side)
                    top, left = corner(crop.clean, self.side)
                names = {name: row[name] for name in ("benchmark", "protocol", "image", "input_psnr", "psnr")}
                self._best[place] = order, Sample(**names, which=which, strip=pictures, left=left, top=top)

    def _orders(self, row: dict[str, Any], image: int) -> Iterator[tuple[str, tuple[float, int]]]:
        """Yield which samples the image may become, each with its order; the lowest one is kept."""
        gain = row["psnr"] - row["input_psnr"]
        if math.isfinite(gain):
            yield LARGEST, (-gain, image)
            yield SMALLEST, (gain, image)
        if self.shown.get(row["benchmark"], row["image"]) == row["image"]:
            yield SHOWN, (0.0, image)

    def gather(self) -> list[Sample]:
        """Return the samples of all processes, ordered by benchmark; every process must call this."""
        orders: dict[Place, tuple[float, int]] = {}
        for place, order in gather_object([(place, order) for place, (order, _) in self._best.items()]):
            orders[place] = min(order, orders.get(place, order))
        own = [(place, sample) for place, (order, sample) in self._best.items() if order == orders[place]]
        return [sample for _, sample in sorted(gather_object(own), key=lambda pair: pair[0])]

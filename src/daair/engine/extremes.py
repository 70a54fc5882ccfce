"""The images of each benchmark that gain most and least, found while an evaluation goes on.

Only they are held in memory, and only they travel between processes.
"""

import math
from typing import Any

from accelerate.utils import gather_object

from daair.runs.samples import LARGEST, SMALLEST, Sample, strip

Place = tuple[int, str]  # number of the benchmark, which of its gains


class Extremes:
    """Keeps the sample with the largest and the one with the smallest gain of each benchmark.

    Args:
        side: of the pictures that are kept, in pixels; 0 keeps none.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._best: dict[Place, tuple[tuple[float, int], Sample]] = {}  # lowest rank wins

    def consider(self, crop: Any, rows: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> None:
        """Look at a measured crop and its rows; only the benchmark's first protocol counts.

        Args:
            crop: with `degraded`, `restored` and `clean`, see `daair.engine.measure.Crop`.
            rows: each with its place: benchmark, protocol, image.
        """
        for (benchmark, protocol, image), row in rows:
            gain = row["psnr"] - row["input_psnr"]
            if not self.side or protocol != 0 or math.isnan(gain):
                continue
            pictures = None
            for which, rank in ((LARGEST, (-gain, image)), (SMALLEST, (gain, image))):
                place = (benchmark, which)
                if place in self._best and self._best[place][0] <= rank:
                    continue
                if pictures is None:
                    pictures = strip(crop.degraded, crop.restored, crop.clean, self.side)
                names = {name: row[name] for name in ("benchmark", "protocol", "image", "input_psnr", "psnr")}
                self._best[place] = rank, Sample(**names, which=which, strip=pictures)

    def gathered(self) -> list[Sample]:
        """Return those of all processes together, by benchmark; every process gets them and must ask."""
        ranks: dict[Place, tuple[float, int]] = {}
        for place, rank in gather_object([(place, rank) for place, (rank, _) in self._best.items()]):
            ranks[place] = min(rank, ranks.get(place, rank))
        mine = [(place, sample) for place, (rank, sample) in self._best.items() if rank == ranks[place]]
        return [sample for _, sample in sorted(gather_object(mine), key=lambda pair: pair[0])]

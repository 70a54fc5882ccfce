"""What a mix is told about each of its tasks."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from daair.data.degradations import Degradation
from daair.data.pairs import PairedSet, Pairs
from daair.errors import UserError

TaskSource = Literal["paired", "synthetic", "auto"]
"""What a task is trained on: pairs of files, clean images degraded on the fly, or pairs where there are any."""


@dataclass(frozen=True)
class MixTask:
    """One task of a mix: a degradation that is to be removed, and how it is trained.

    Attributes:
        degrade: Function `(image, rng) -> image`; see `daair.data.degradations`. None for what only pairs show.
        pairs: Pairs of the degradation: an object, or the name of a data set of `daair.data.catalogue.DATASETS`.
        repeats: How often an epoch visits each pair; of a task without `pairs`, each clean image. None stands for once
            for pairs, and for `Mix.synthetic_repeats` for clean images.
        weight: Factor on the task's share of the samples; 0 leaves it out.
        source: None stands for the `source` of the mix.
    """

    degrade: Degradation | None = None
    pairs: str | Pairs | None = None
    repeats: Annotated[int, Ge(1)] | None = None
    weight: Annotated[float, Ge(0)] = 1.0
    source: TaskSource | None = None

    def __post_init__(self) -> None:
        if isinstance(self.pairs, str):
            try:
                object.__setattr__(self, "pairs", PairedSet(self.pairs))
            except UserError as error:
                raise UserError(f"pairs: {error}") from None
        elif not isinstance(self.pairs, Pairs | None):
            raise UserError(f"pairs: {self.pairs!r} is neither the name of a data set nor a set of pairs")
        if not 0 <= self.weight < float("inf"):
            raise UserError(f"weight: {self.weight} is not a weight; give 0 or a positive number")
        if self.pairs is None and self.degrade is None:
            raise UserError("pairs: missing; degrade=null, so there is nothing else to train on")
        if self.pairs is None and self.source == "paired":
            raise UserError("pairs: missing, but source=paired asks for them")

"""The tasks of a mix."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from daair.data.degradations import Degradation
from daair.data.pairs import PairedSet, Pairs
from daair.errors import UserError

TaskSource = Literal["paired", "synthetic", "auto"]
"""The training data of a task: pairs of files, clean images that are degraded on the fly, or pairs if there are any."""


@dataclass(frozen=True)
class MixTask:
    """One task of a mix: a degradation to remove, and its training data.

    Attributes:
        degrade: Function `(image, rng) -> image`; see `daair.data.degradations`. None if the degradation cannot be
            synthesised.
        pairs: Training pairs: an object, or the name of a data set in `daair.data.catalogue.DATASETS`.
        repeats: Number of times that an epoch visits each pair, or each clean image if the task has no `pairs`. None
            means once for pairs and `Mix.synthetic_repeats` for clean images.
        weight: Factor on the task's share of the samples; 0 leaves the task out.
        source: Kind of training data; None means the `source` of the mix.
    """

    degrade: Degradation | None = None
    pairs: str | Pairs | None = None
    repeats: Annotated[int, Ge(1), Le(10**6)] | None = None
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
            raise UserError("pairs: missing, but source=paired needs them")

"""Assign the updates of a run to the stages of a network's training and to the phases of `train.progressive`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from daair.config.schema import Phase, Train
from daair.models import training
from daair.models.training import Stage

Part = TypeVar("Part", Stage, Phase)


@dataclass(frozen=True)
class Span:
    """Updates of one stage with crops and batches of one size.

    Attributes:
        stage: The stage.
        begin, end: The first update of the stage, and one past its last.
        first, stop: The first update of the span, and one past its last.
        trainable: Names of the parameters that the stage trains.
        patch: Height and width of the crops in pixels; None for those of the mix.
        batch_size: Images of a micro-batch, over all processes.
        accumulation: Micro-batches of an update.
        before: Images that the earlier spans have seen.
    """

    stage: Stage
    begin: int
    end: int
    first: int
    stop: int
    trainable: frozenset[str]
    patch: int | None
    batch_size: int
    accumulation: int
    before: int

    @property
    def images_an_update(self) -> int:
        """Return the number of images in an update, over all processes."""
        return self.batch_size * self.accumulation

    def images(self, step: int) -> int:
        """Return the number of images that the run has seen after `step` updates, if the last was in this span."""
        return self.before + (step - self.first) * self.images_an_update

    def micro_batch(self, step: int) -> int:
        """Return the number of the first micro-batch of update `step`.

        Batches of this span's size are counted from the run's first image, so that no sample is repeated if an earlier
        span had another batch size.
        """
        return -(-self.before // self.batch_size) + (step - self.first) * self.accumulation


def spans(network: nn.Module, options: Train) -> list[Span]:
    """Return the spans of a network's training in order; the network must be as it was built.

    A stage with its own batch size keeps it in all phases of `train.progressive`.
    """
    laid: list[Span] = []
    for stage, begin, end in _places(training.stages(network), options.steps):
        names = frozenset(training.trainable(network, stage, options.freeze))
        for phase, start, past in _places(options.progressive or (Phase(share=1.0),), options.steps):
            first, stop = max(begin, start), min(end, past)
            if first < stop:
                size = stage.batch_size or phase.batch_size or options.batch_size
                before = laid[-1].images(first) if laid else 0
                span = Span(stage, begin, end, first, stop, names, phase.patch, size, options.accumulation, before)
                laid.append(span)
    return laid


def _places(parts: Sequence[Part], steps: int) -> Iterator[tuple[Part, int, int]]:
    """Yield each part with its first update and one past its last; a short run has no update for a short part."""
    share, first = 0.0, 0
    for number, part in enumerate(parts, 1):
        share += part.share
        # Shares such as 0.333333 need not sum to exactly 1, but the run ends at `steps`: there it validates and saves.
        stop = steps if number == len(parts) else min(round(share * steps), steps)
        if stop > first:
            yield part, first, stop
        first = stop

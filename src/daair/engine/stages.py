"""Lays the stages of a network's training out over the updates of a run."""

from dataclasses import dataclass

from torch import nn

from daair.config.schema import Train
from daair.models import training
from daair.models.training import Stage


@dataclass(frozen=True)
class Span:
    """A stage with its place in a run.

    Attributes:
        stage: the stage.
        first, stop: its first update, and one past its last.
        trainable: names of the parameters that it trains.
        batch_size: images of a micro-batch, over all processes.
        accumulation: micro-batches of an update.
        before: images that the stages before it have seen.
    """

    stage: Stage
    first: int
    stop: int
    trainable: frozenset[str]
    batch_size: int
    accumulation: int
    before: int

    @property
    def images_an_update(self) -> int:
        """How many images an update sees, over all processes."""
        return self.batch_size * self.accumulation

    def images(self, step: int) -> int:
        """Return how many images the run has seen after `step` updates, the last of them in this stage."""
        return self.before + (step - self.first) * self.images_an_update

    def micro_batch(self, step: int) -> int:
        """Return the number of the first micro-batch of update `step`.

        Batches of this stage's size are numbered from the run's first image, so that no sample comes up twice where a
        stage before had batches of another size.
        """
        return -(-self.before // self.batch_size) + (step - self.first) * self.accumulation


def spans(network: nn.Module, options: Train) -> list[Span]:
    """Return the stages of a network's training in their order, with their places.

    Args:
        network: as it was built.
        options: updates of the run, images of a batch where a stage does not say otherwise, frozen parameters.
    """
    laid, share, first, before = [], 0.0, 0, 0
    for stage in training.stages(network):
        share += stage.share
        stop, batch_size = round(share * options.steps), stage.batch_size or options.batch_size
        names = frozenset(training.trainable(network, stage, options.freeze))
        if stop > first:  # a short run has no update for a short stage
            laid.append(Span(stage, first, stop, names, batch_size, options.accumulation, before))
            first, before = stop, laid[-1].images(stop)
    return laid

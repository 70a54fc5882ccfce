"""Assign the updates of a run to the stages of a network's training."""

from dataclasses import dataclass

from torch import nn

from daair.config.schema import Train
from daair.models import training
from daair.models.training import Stage


@dataclass(frozen=True)
class Span:
    """A stage and its updates in a run.

    Attributes:
        stage: The stage.
        first, stop: Its first update, and one past its last.
        trainable: Names of the parameters that it trains.
        batch_size: Images of a micro-batch, over all processes.
        accumulation: Micro-batches of an update.
        before: Images that the earlier stages have seen.
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
        """Return the number of images in an update, over all processes."""
        return self.batch_size * self.accumulation

    def images(self, step: int) -> int:
        """Return the number of images that the run has seen after `step` updates, if the last was in this stage."""
        return self.before + (step - self.first) * self.images_an_update

    def micro_batch(self, step: int) -> int:
        """Return the number of the first micro-batch of update `step`.

        Batches of this stage's size are counted from the run's first image, so that no sample is repeated if an earlier
        stage had another batch size.
        """
        return -(-self.before // self.batch_size) + (step - self.first) * self.accumulation


def spans(network: nn.Module, options: Train) -> list[Span]:
    """Return the stages of a network's training in order, with their updates; the network must be as it was built."""
    laid, share, first, before = [], 0.0, 0, 0
    for stage in training.stages(network):
        share += stage.share
        stop, batch_size = round(share * options.steps), stage.batch_size or options.batch_size
        names = frozenset(training.trainable(network, stage, options.freeze))
        if stop > first:  # in a short run, a stage with a small share has no update
            laid.append(Span(stage, first, stop, names, batch_size, options.accumulation, before))
            first, before = stop, laid[-1].images(stop)
    return laid

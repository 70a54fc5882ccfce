"""The order of samples in an epoch, and each process's share of them, as pure functions of the position."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from daair.data.keyed import keyed_rng
from daair.errors import UserError


class Epochs:
    """The task and the image of each sample of each epoch.

    An epoch holds `counts[t]` samples of task `t`, shuffled. A task visits its images in rounds: each image once per
    round, in a new random order. Rounds continue from one epoch to the next, so all images are visited equally often
    even if an epoch is shorter than a round.

    Args:
        sizes: Number of images of each task.
        counts: Number of samples of each task in an epoch.
        seed: Seed of all orders.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], seed: int) -> None:
        self.sizes, self.counts, self.seed = list(sizes), list(counts), seed
        self._latest: tuple[int, NDArray[np.int32], NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        return sum(self.counts)

    def at(self, epoch: int, index: int) -> tuple[int, int]:
        """Return the positions of the task and the image of one sample."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = (epoch, *self.order(epoch))
        return int(self._latest[1][index]), int(self._latest[2][index])

    def order(self, epoch: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the positions of the tasks and of the images of all samples of an epoch, as two arrays."""
        tasks = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        images = np.concatenate([self._visits(task, epoch) for task in range(len(self.counts))])
        shuffled = keyed_rng("order", self.seed, epoch).permutation(len(self))
        return tasks[shuffled], images[shuffled]

    def _visits(self, task: int, epoch: int) -> NDArray[np.int32]:
        size, count = self.sizes[task], self.counts[task]
        if count == 0:
            return np.empty(0, np.int32)
        start = epoch * count
        rounds = range(start // size, (start + count - 1) // size + 1)
        images = [keyed_rng("round", self.seed, task, number).permutation(size) for number in rounds]
        first = start - rounds.start * size
        return np.concatenate(images)[first : first + count].astype(np.int32)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split a whole number in proportion to weights by largest remainders; each positive weight gets at least 1."""
    shares = np.asarray(weights, np.float64)
    exact = total * shares / shares.sum()
    counts = np.floor(exact).astype(np.int64)
    remainder = exact - counts
    remainder[shares == 0] = -1
    counts[np.argsort(-remainder, kind="stable")[: total - int(counts.sum())]] += 1
    return np.where(shares > 0, np.maximum(counts, 1), 0).tolist()


class StepSampler(Sampler[list[int]]):
    """A batch sampler for one process, whose batches depend on their position alone, so that a resume is exact.

    Micro-batch `m` of all processes together holds the sample counters from `m * batch_size` to
    `(m + 1) * batch_size - 1`, and each process takes a contiguous slice. Pass it as `DataLoader(batch_sampler=...)`.
    With gradient accumulation, `start` and `stop` count micro-batches.

    Args:
        batch_size: Number of samples in a micro-batch over all processes.
        rank: Rank of this process.
        world: Number of processes, which divides `batch_size`.
        start: First micro-batch.
        stop: One past the last micro-batch.
    """

    def __init__(self, batch_size: int, rank: int, world: int, start: int, stop: int) -> None:
        if batch_size < 1 or batch_size % world:
            raise UserError(f"batch_size: {batch_size} cannot be shared evenly by {world} processes")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self.batch_size, self.rank, self.world, self.start, self.stop = batch_size, rank, world, start, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world
        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.rank * share
            yield list(range(first, first + share))

"""Load the batches of a training in worker processes, which end with the training, whatever ends it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from daair.errors import UserError, first_line
from daair.exits import STOPPING, end_with

SHARED_MEMORY = Path("/dev/shm")
REMEDY = (
    "give it more space (docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm), or set train.workers=0, "
    "which needs none"
)


def make_loader(dataset: Dataset, sampler: Sampler[list[int]], workers: int, pin_memory: bool) -> DataLoader:
    """Return a loader of the sampler's batches.

    Raises:
        UserError: The workers' batches do not fit into the machine's shared memory.
    """
    if workers:
        check_shared_memory(dataset, sampler, workers)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=begin_worker,
        pin_memory=pin_memory,
    )


def begin_worker(worker: int) -> None:
    """Prepare a worker process: it ignores signals that go to a whole group, and ends when its parent dies.

    Torch looks for the death of whatever process is the parent when the worker first looks; that may be another one if
    the parent was killed just after the fork.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if multiprocessing.get_start_method() == "fork" and not end_with(parent.pid, signal.SIGKILL):
        os._exit(1)
    threading.Thread(target=_end_after, args=[parent], daemon=True).start()  # where the kernel sends no signal
    Queue._on_queue_feeder_error = staticmethod(_end_worker)


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _end_worker(error: BaseException, item: object) -> None:
    """End a worker that cannot hand over a batch; by default the batch is dropped, and the training waits for ever."""
    os.write(2, f"a loader worker cannot hand over a batch: {first_line(error)}\n".encode())
    os._exit(1)


def check_shared_memory(dataset: Dataset, sampler: Sampler[list[int]], workers: int) -> None:
    """Compare what workers that are ahead of the training keep in shared memory with what is free.

    Raises:
        UserError: It does not fit; the message says how much is needed.
    """
    keys = next(iter(sampler), None)
    if keys is None or not SHARED_MEMORY.is_dir():
        return
    sample = dataset[keys[0]]
    batch = len(keys) * sum(value.nbytes for value in sample.values() if isinstance(value, Tensor))
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    needed = ranks * (2 * workers + 1) * batch  # torch's prefetch_factor is 2; the training holds one more
    state = os.statvfs(SHARED_MEMORY)
    free = state.f_bavail * state.f_frsize
    if needed > free:
        raise UserError(
            f"train.workers: {ranks * workers} loader processes need {needed / 1e6:.1f} MB of shared memory for their "
            f"batches, and {SHARED_MEMORY} has {free / 1e6:.1f} MB free; {REMEDY}"
        )


class Batches:
    """Iterate over a loader, measure how long its user waits, and end its workers.

    Args:
        loader: Yields the batches.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._iterator, self._since = iter(loader), time.monotonic()
        self.waited = 0.0  # seconds since the last call of `share`

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        asked = time.monotonic()
        try:
            return next(self._iterator)
        except UserError as error:  # of a worker: torch puts the worker's traceback before the message
            raise UserError(str(error).rstrip().rpartition("UserError: ")[2]) from None
        except RuntimeError as error:
            if "shared memory" in str(error) or "Bus error" in str(error):  # others have filled it since the check
                raise UserError(f"train.workers: {SHARED_MEMORY} is full; {REMEDY}") from error
            raise
        finally:
            self.waited += time.monotonic() - asked

    def share(self) -> float:
        """Return the part of the time since the last call that was spent waiting, in [0, 1]."""
        now = time.monotonic()
        share = self.waited / max(now - self._since, 1e-9)
        self.waited, self._since = 0.0, now
        return min(share, 1.0)

    def close(self) -> None:
        """End the workers, those that do not answer by SIGKILL; Python's exit would wait for them for ever."""
        if hasattr(self._iterator, "_shutdown_workers"):
            self._iterator._shutdown_workers()
            for worker in self._iterator._workers:
                worker.kill()
                worker.join(1)

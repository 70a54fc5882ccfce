"""Loader workers: they end with the training, whatever ends it, and say what they lack."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import RUN, SMALL, alive, environment, make_photographs
from torch.utils.data import DataLoader, Dataset

from daair.engine import loader
from daair.engine.loader import Batches, begin_worker, make_loader
from daair.errors import UserError


class Ones(Dataset):
    """Samples of 4000 bytes; sample 9 cannot be read, and sample 11 never comes."""

    def __getitem__(self, key: int) -> dict:
        if key == 9:
            raise UserError("mix.root: 9.png is gone")
        while key == 11:
            time.sleep(1)
        return {"input": torch.ones(1000), "label": key}


def batches(keys: list[list[int]], workers: int) -> Batches:
    return Batches(make_loader(Ones(), keys, workers, pin_memory=False))


def test_waiting_is_measured(monkeypatch):
    clock = iter([0, 10, 12, 20, 21, 30, 30, 34])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    items = Batches([1, 2])  # at 0
    assert next(items) == 1 and next(items) == 2  # 10 to 12, 20 to 21
    assert items.share() == pytest.approx(0.1)  # 3 of 30
    with pytest.raises(StopIteration):
        next(items)  # 30 to 34


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_worker_cannot_read_is_told_in_the_words_of_the_error(workers):
    items = batches([[1], [9]], workers)
    assert next(items)["label"].tolist() == [1]
    with pytest.raises(UserError, match=r"^mix.root: 9.png is gone$"):
        next(items)
    items.close()


def test_workers_that_do_not_answer_are_killed(monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    items = batches([[1], [11]], 1)
    next(items)
    (worker,) = items._iterator._workers
    items.close()
    assert worker.exitcode == -signal.SIGKILL


def test_a_shared_memory_that_is_too_small_is_told_before_a_worker_starts(monkeypatch):
    room = os.statvfs_result((4096, 4096, 10, 10, 10, 0, 0, 0, 0, 255))  # 10 blocks of 4096 bytes
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    monkeypatch.setattr(loader, "SHARED_MEMORY", Path("/"))
    assert isinstance(make_loader(Ones(), [[1, 2]], 0, pin_memory=False), DataLoader)
    make_loader(Ones(), [[1, 2]], 2, pin_memory=False)  # five batches of 8000 bytes
    with pytest.raises(UserError) as caught:
        make_loader(Ones(), [[1, 2, 3]], 2, pin_memory=False)
    assert str(caught.value).startswith(
        "train.workers: 2 loader processes need 0.1 MB of shared memory for their batches, and / has 0.0 MB free; "
        "give it more space (docker run --shm-size=1g"
    )
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="4 loader processes"):
        make_loader(Ones(), [[1, 2]], 2, pin_memory=False)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)", "is full; give it"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error.", "is full; give it"),
        ("a bug", None),
    ],
)
def test_a_shared_memory_that_fills_up_is_told(monkeypatch, error, told):
    def fail(key: int) -> dict:
        raise RuntimeError(error)

    monkeypatch.setattr(Ones, "__getitem__", lambda self, key: fail(key))
    with pytest.raises(UserError if told else RuntimeError, match=told or error):
        next(batches([[1]], 0))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_whose_parent_is_dead_already_ends(monkeypatch, method):
    """As when the parent is killed after the fork; torch's own check would look for the death of another process."""
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: method)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(pid=1, join=lambda: None))
    child = os.fork()
    if child == 0:
        begin_worker(0)
        time.sleep(60)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


# A network that raises in its third forward pass, and prints the ids of its loader workers.
MODEL = """
import os
from torch import nn
from daair.models.layers import FeedForward

class Net(FeedForward):
    count = 0

    def __init__(self):
        super().__init__(3, expansion=2.0)

    def forward(self, x):
        if self.training:
            Net.count += 1
        if Net.count == 3:
            print("children", *open(f"/proc/self/task/{os.getpid()}/children").read().split(), flush=True)
            raise ValueError("a bug of mine")
        return super().forward(x)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_any_exception_ends_the_process_and_its_workers(tmp_path):
    make_photographs(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    given = [o for o in SMALL if not o.startswith(("model", "experts", "train.workers"))]
    mine = ["model=custom", "model._target_=mine.Net", f"mix.root={tmp_path}", "train.workers=2", "train.steps=9"]
    done = subprocess.run(
        [sys.executable, RUN, *given, *mine], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ValueError: a bug of mine"), done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("children"))
    assert len(line.split()) >= 3 and not any(alive(int(pid)) for pid in line.split()[1:])

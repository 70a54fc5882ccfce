"""What several tests need: a folder of small photographs, and runs in processes of their own."""

import os
import socket
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from omegaconf import DictConfig, open_dict
from PIL import Image
from warm import Warm

from daair.config.jobs import Composer, Job
from daair.runs.record import Record

ROOT = Path(__file__).resolve().parents[1]
RUN = str(ROOT / "run.py")
PLUGIN = ROOT / "tests" / "plugin"

# The smallest real training: a second of computing after the imports.
SMALL = [
    "model=daair_tiny",
    "model.channels=8",
    "model.heads=[1,1,2,2]",
    "experts.rank=2",
    "mix=denoise",
    "mix.patch=16",
    "mix.val_patch=16",
    "mix.val_crops=2",
    "train.batch_size=4",
    "train.workers=0",
    "train.threads=1",
    "train.log_every=1",
    "benchmarks=[]",
    "device=cpu",
    "logger.mode=disabled",
]
TWO_PROCESSES = [
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]

CLOCK = ("time", "train/images_per_second", "train/waiting")
"""Metrics that differ from one run to the next."""


@cache
def composer() -> Composer:
    """Return the composer of the checkout's conf/, which reads each file once."""
    return Composer(str(ROOT / "conf"))


def composed(*overrides: str) -> DictConfig:
    """Return the config of a command, without its `hydra` node."""
    config = composer().compose(overrides)
    with open_dict(config):
        del config["hydra"]
    return config


def job(config, composer: Composer | None = None) -> Job:
    """A job with this config, for tasks that ask for nothing else of it."""
    return Job(config, (), "", Path(), "", composer=composer)


def make_photographs(root: Path, count: int = 4, size: int = 48) -> Path:
    """Write `train/clean` and `val/clean` with smooth random pictures; returns `root`."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        folder = root / part / "clean"
        folder.mkdir(parents=True)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{part}{i}.png")
    return root


def install_plugin(site: Path, value: str = "mypkg") -> Path:
    """Write what an installer would note of the plugin in tests/plugin into `site`; returns `site`, for the path."""
    noted = site / "mypkg-1.0.dist-info"
    noted.mkdir(parents=True)
    (noted / "METADATA").write_text("Metadata-Version: 2.1\nName: mypkg\nVersion: 1.0\n")
    (noted / "entry_points.txt").write_text(f"[daair.plugins]\nmypkg = {value}\n")
    return site


def environment() -> dict[str, str]:
    """Of a process as a user would start it, on the CPU, with one thread."""
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")}
    return env | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


def start(overrides: list[str], processes: int = 1, cwd: Path | None = None) -> Warm:
    """Start `run.py` with `overrides`, in its own session; two processes by way of `accelerate launch`."""
    launcher = TWO_PROCESSES if processes == 2 else []
    return Warm([*launcher, RUN, *overrides], cwd or ROOT, environment())


def run(overrides: list[str], processes: int = 1, cwd: Path | None = None) -> tuple[int, str]:
    """Run to the end; returns the exit status and the output."""
    process = start(overrides, processes, cwd)
    output = process.communicate(timeout=240)[0]
    return process.returncode, output


def run_ranks(overrides: list[str], cwd: Path | None = None, script: Sequence[str] = (RUN,)) -> tuple[int, str]:
    """Run two ranks to the end, started as `accelerate launch` starts them, but warm; the output is the first one's.

    `script` is what they run, with arguments that come first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    overrides = [*overrides, "launch.num_processes=2"]  # refused by ranks that do not find each other
    start = [*script, *overrides]
    ranks = [Warm(start, cwd or ROOT, environment() | world | {"RANK": k, "LOCAL_RANK": k}) for k in "01"]
    outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    return max(rank.returncode for rank in ranks), outputs[0]


def alive(pid: int) -> bool:
    """Whether a process works still: exists, and is not one that only waits for its parent's notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def trail(record: Record) -> list[dict]:
    """A run's metrics, without what the clock says."""
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in record.metrics()]


def wait_for_step(process, runs: Path, step: int) -> None:
    """Until metrics of `step` are on disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for file in runs.glob("*/*/seed*/metrics.jsonl"):
            if any(row["step"] >= step for row in Record(file.parent).metrics()):
                return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached in time")


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all its descendants, which elastic workers are in sessions of their own."""
    parent = psutil.Process(pid)
    for process in [*parent.children(recursive=True), parent]:
        process.kill()

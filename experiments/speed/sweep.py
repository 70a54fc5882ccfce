"""What does the launcher add to a run? A sweep of one-step runs against the same runs started by hand.

    .venv/bin/python experiments/speed/sweep.py [count]    writes experiments/speed/sweep.csv; 13 s of a core a run

`start` is one interpreter with the imports that training needs; `alone` is `python -m daair.launch.worker` on one such
run, so start, imports and a training of one update; `sweep` is the whole sweep divided by its runs: composing, checking
and queueing, the launcher's own work, and each run. Processor seconds (user and system), which depend little on what
else the machine does; `alone` and `start` are medians of a few before and after the sweep. Runs of a sweep are forked
from a server that nobody waits for, so this process adopts it (Linux), or its seconds would be missing.
"""

import csv
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from daair.cli import conf_dir
from daair.config.compose import Composer
from daair.config.identity import run_folder
from daair.config.validate import validate
from daair.files import replacing
from daair.runs.environment import git_state, processor
from daair.runs.record import Record

ROOT = Path(__file__).resolve().parents[2]
COUNT = 200
PR_SET_CHILD_SUBREAPER = 36  # of sys/prctl.h
REFERENCES = 2  # processes of each kind before the sweep, and again after it
ONE_STEP = [
    *("model=daair_tiny", "mix=denoise", "mix.root=.", "mix.patch=16", "mix.val_patch=16", "mix.val_crops=1"),
    *("train.steps=1", "train.batch_size=1", "train.workers=0", "train.threads=1", "benchmarks=[]"),
    *("device=cpu", "logger.mode=disabled"),
]


def photographs(place: Path) -> None:
    for part in ("train", "val"):
        folder = place / part / "clean"
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{part}.png")


def cpu_seconds(*command: str) -> float:
    """Processor time of a command and of all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    with suppress(ChildProcessError):  # no more children
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def queued(seed: int) -> Path:
    """The folder of one such run outside of the sweep."""
    config = validate(Composer(conf_dir()).compose([*ONE_STEP, "study=alone", f"seed={seed}"]))
    record = Record(run_folder(config))
    record.queue(config.to_dict(), 1)
    return record.folder


def references(first: int) -> tuple[list[float], list[float]]:
    """Processor seconds of a few starts and of a few runs alone, taking turns."""
    starts, runs = [], []
    for seed in range(first, first + REFERENCES):
        starts.append(cpu_seconds("-c", "import daair.launch.worker, daair.engine.train"))
        runs.append(cpu_seconds("-m", "daair.launch.worker", str(queued(seed))))
    return starts, runs


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        photographs(Path(folder))
        before = references(0)
        command = [
            "-m",
            *ONE_STEP,
            "study=sweep",
            f"seed=range({count})",
            "hydra/launcher=accelerate",
            "launch.slots=1",
        ]
        whole = cpu_seconds(str(ROOT / "run.py"), *command)
        done = sum(1 for file in Path("runs/sweep").glob("*/*/status.json") if '"done"' in file.read_text())
        if done != count:
            raise SystemExit(f"{done} of {count} runs are done")
        after = references(REFERENCES)
        os.chdir(ROOT)
    row = {
        "runs": count,
        "start_cpu_s": round(statistics.median(before[0] + after[0]), 2),
        "alone_cpu_s": round(statistics.median(before[1] + after[1]), 2),
        "sweep_cpu_s_per_run": round(whole / count, 2),
        "hardware": processor(),
        "commit": ((git_state() or {}).get("commit") or "")[:12],
    }
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    main()

"""What do many runs cost before and after they run? Composing and checking 1,000 jobs; the status of 10,000 runs.

    .venv/bin/python experiments/speed/store.py          writes experiments/speed/store.csv, 80 s of a core

Each row is a process of its own, as a user would start it. Processor seconds (user and system) depend little on what
else the machine does, wall seconds do; nothing else ran beside store.csv's. The rows `start` show
what the interpreter and its imports take of the rows below them; `jobs composed by hydra` composes 50 of the same jobs
one by one, as Hydra does, and is to be read per job.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from daair.files import replacing
from daair.runs.environment import git_state, processor
from daair.runs.record import Status

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [
    *("-m", "model=daair_tiny", "experts.rank=range(1,11)", "optimizer.lr=1e-4,2e-4,5e-4,1e-3,2e-3"),
    *("router=top1,soft", "loss=l1,l2", "seed=range(5)"),
]
JOBS = """
import sys
from daair.config.jobs import Command
Command.parse(sys.argv[1:]).jobs
"""
HYDRA = """
import itertools, sys
from daair.config.jobs import Command
command = Command.parse(sys.argv[1:])
for point in itertools.islice(command.points, 50):
    command.composer.compose(point.overrides)
"""


def record(folder: Path, number: int) -> None:
    """Write a finished run of 2,000 updates as training leaves it, as far as the status reads it."""
    folder.mkdir(parents=True)
    now = "2026-01-01T12:00:00+00:00"
    status = Status(state="done", attempt=1, step=2000, steps=2000, host="host", pid=1, started=now, updated=now)
    (folder / "status.json").write_text(json.dumps(asdict(status), indent=2) + "\n")
    rows = [{"step": step, "time": now, "train/loss": 0.1, "train/lr": 1e-3} for step in range(50, 2001, 50)]
    rows.append({"step": 2000, "time": now, "val/psnr": 25 + number % 100 / 100})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def timed(name: str, count: int, command: list[str], cwd: Path) -> dict[str, object]:
    """Run a command; one row of the table."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {"what": name, "count": count, "cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
    print(row, flush=True)
    return row


def main() -> None:
    status = [str(ROOT / "run.py"), "task=status"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = [timed("start, status", 0, status, place)]
        for number in range(10_000):
            study = "large" if number < 5_000 else f"study{number % 50}"
            record(place / f"runs/{study}/rank{number}-{number:08x}/seed0", number)
        rows += [
            timed("status of all studies", 10_000, status, place),
            timed("status of one study", 5_000, [*status, "study=large"], place),
            timed("status of one study, every row", 5_000, [*status, "study=large", "status.rows=null"], place),
            timed("start, jobs", 1, ["-c", JOBS, "model=daair_tiny"], place),
            timed("jobs composed and checked", 1_000, ["-c", JOBS, *SWEEP], place),
            timed("jobs composed by hydra", 50, ["-c", HYDRA, *SWEEP], place),
        ]
    facts = {"hardware": processor(), "commit": ((git_state() or {}).get("commit") or "")[:12]}
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *facts])
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)


if __name__ == "__main__":
    main()

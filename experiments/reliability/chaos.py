"""Kill the processes of small sweeps at random, and see whether anything is lost.

    make chaos MINUTES=30       or .venv/bin/python experiments/reliability/chaos.py MINUTES [SEED]

A round is one sweep of nine runs, six at a time: four without loader workers, four with two of them, of which one has
W&B's offline mirror, and one on two ranks with a loader worker each. It is started by the same command again and again,
while processes of it get SIGKILL, SIGTERM, SIGINT or SIGSTOP and then SIGKILL: the command itself, the front end of the
two ranks, ranks, loader workers.
After `KILLS` of them it may end, and is compared with the same sweep undisturbed. A row for each round is added to
chaos.csv, which adds up over sessions:

    kills         signals that were sent, by target and by signal in the columns that follow
    lost          runs that are not done at the end, and updates that are missing in metrics.jsonl
    duplicated    lines of metrics.jsonl for one and the same update
    different     runs whose weights, rows of results or metrics are not byte for byte those of the undisturbed sweep
    orphans       processes that lived longer than `launch.grace` after the command had ended
    hung          commands that did not end within `PATIENCE` after the last signal
"""

from __future__ import annotations

import contextlib
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from helpers import CLOCK, RUN, SMALL, environment, make_photographs, trail  # noqa: E402

from daair.launch.warm import COMMAND  # noqa: E402
from daair.runs.environment import commit_name, git_state, processor  # noqa: E402
from daair.runs.record import Record  # noqa: E402

LOG = Path(__file__).with_suffix(".csv")
KILLS = 150  # in a round
GRACE = 40.0  # launch.grace
PATIENCE = 600.0  # seconds
LONGEST_CALM = 20.0  # seconds from a start to the first signal: loader workers live only once a training is under way
LONGEST_PAUSE = 0.6  # seconds between two signals
MARK = "DAAIR_CHAOS"  # in the environment of all that a round starts
TARGETS = {"command": 1, "launcher": 2, "rank": 6, "loader": 6}  # how often each is chosen where all can be
LOADER = "pt_data_worker"  # the name that torch gives to a loader worker
WAYS = {"SIGKILL": (signal.SIGKILL,), "SIGTERM": (signal.SIGTERM,), "SIGINT": (signal.SIGINT,)}
WAYS["SIGSTOP+SIGKILL"] = (signal.SIGSTOP, signal.SIGKILL)
FAULTS = ("lost", "duplicated", "different", "orphans", "hung")
COLUMNS = ("begun", "seed", "seconds", "starts", "kills", *TARGETS, *WAYS, *FAULTS, "hardware", "commit")
SWEEP = """
# @package _global_
defaults:
  - override /hydra/launcher: accelerate
study: chaos
logger: {mode: disabled}
launch: {slots: 6, grace: 40, retries: 0}
train: {steps: 200, checkpoint_every: 4, validate_every: 10}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "0"}
    variants:
      ranks: {experts.rank: 1, train.steps: 60, launch.num_processes: 2, train.workers: 1}
      loaders1: {experts.rank: 1, train.workers: 2, logger.mode: offline}
      loaders2: {experts.rank: 2, train.workers: 2}
      loaders3: {experts.rank: 3, train.workers: 2}
      loaders4: {experts.rank: 4, train.workers: 2}
      alone1: {experts.rank: 5}
      alone2: {experts.rank: 6}
      alone3: {experts.rank: 7}
      alone4: {experts.rank: 8}
"""


class Command:
    """One start of the sweep, and all processes that belong to it."""

    def __init__(self, lab: Path, runs: str) -> None:
        self.mark = uuid.uuid4().hex
        given = [o for o in SMALL if not o.startswith(("experts.", "train.workers", "logger", "benchmarks"))]
        mine = [
            "benchmarks.mine.target=val/clean",
            "benchmarks.mine.degrade=sigma25",
            "mix.root=.",
            f"paths.runs={runs}",
        ]
        line = [sys.executable, RUN, "--config-dir", "conf", "+sweeps=chaos", *given, *mine]
        env = environment() | {MARK: self.mark, "PYTHONPATH": str(ROOT / "src"), "WANDB_MODE": "offline"}
        with open(lab / f"{runs}.txt", "a") as output:
            self.process = subprocess.Popen(
                line, cwd=lab, env=env, stdout=output, stderr=output, start_new_session=True
            )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def members(self) -> Iterator[psutil.Process]:
        """Yield every process alive that this command, or any that it started, has started."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def targets(self) -> dict[str, list[psutil.Process]]:
        """Return the processes that may be killed now, by kind."""
        found: dict[str, list[psutil.Process]] = {kind: [] for kind in TARGETS}
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                line, name = process.cmdline(), process.name()
                if process.pid == self.process.pid:
                    found["command"].append(process)
                elif "daair.launch.ranks" in line:
                    found["launcher"].append(process)
                elif name == LOADER:
                    found["loader"].append(process)
                elif name == COMMAND or "daair.launch.worker" in line:
                    found["rank"].append(process)
        return {kind: processes for kind, processes in found.items() if processes}

    def orphans(self) -> list[psutil.Process]:
        """Return what is alive `GRACE` after the end of the command, and end it."""
        deadline = time.monotonic() + GRACE
        while (left := list(self.members())) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in left:
            print("orphan:", process, process.cmdline(), flush=True)
            with contextlib.suppress(psutil.Error):
                process.kill()
        return left


def strike(command: Command, choose: random.Random, counts: Counter) -> None:
    """Send a random process of the command a random signal."""
    if not (targets := command.targets()):
        return
    (kind,) = choose.choices(list(targets), [TARGETS[name] for name in targets])
    way, victim = choose.choice(sorted(WAYS)), choose.choice(targets[kind])
    try:
        for number in WAYS[way]:
            victim.send_signal(number)
            if number == signal.SIGSTOP:
                time.sleep(choose.uniform(0.1, 2.0))
    except psutil.NoSuchProcess:
        return
    counts.update(("kills", kind, way))


def waits(command: Command, seconds: float) -> bool:
    """Wait for so many seconds; return whether the command lives on."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.process.wait(seconds)
    return not command.ended()


def disturb(lab: Path, runs: str, choose: random.Random, until: float) -> Counter:
    """Start the sweep again and again, kill its processes, let it end at last; return the counts."""
    counts: Counter = Counter()
    while True:
        counts["starts"] += 1
        command = Command(lab, runs)
        pause = choose.uniform(0.0, LONGEST_CALM)
        while counts["kills"] < KILLS and time.monotonic() < until and waits(command, pause):
            strike(command, choose, counts)
            pause = choose.uniform(0.05, LONGEST_PAUSE)
        struck = counts["kills"] < KILLS and time.monotonic() < until
        try:
            status = command.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            counts["hung"] += 1
            command.process.kill()
            status = None
        counts["orphans"] += len(command.orphans())
        if status == 0 or counts["hung"] > 1:
            return counts
        if not struck and counts["starts"] > KILLS + 5:  # it does not end well although nobody disturbs it
            return counts


def compare(whole: Path, disturbed: Path) -> Counter:
    """Count what is lost, duplicated and different."""
    counts: Counter = Counter()
    for status in sorted(whole.glob("*/*/seed*/status.json")):
        good, other = Record(status.parent), Record(disturbed / status.parent.relative_to(whole))
        if other.status().state != "done":
            counts["lost"] += 1
            continue
        lines = [[(row["step"], *sorted(row.keys() - set(CLOCK))) for row in r.metrics()] for r in (good, other)]
        counts["lost"] += len(set(lines[0]) - set(lines[1]))
        counts["duplicated"] += len(lines[1]) - len(set(lines[1]))
        same = all(
            (good.folder / name).read_bytes() == (other.folder / name).read_bytes()
            for name in ("model.safetensors", "results.csv")
        )
        counts["different"] += not same or trail(good) != trail(other)
    return counts


def add_row(row: dict) -> list[dict]:
    """Add a round to the log; return all rounds."""
    new = not LOG.exists()
    with open(LOG, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval=0, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    with open(LOG, newline="") as file:
        return list(csv.DictReader(file))


def total(rounds: list[dict]) -> str:
    kills = ("starts", "kills", *FAULTS)
    return ", ".join(f"{sum(int(row.get(name) or 0) for row in rounds)} {name}" for name in kills)


def main() -> int:
    until = time.monotonic() + 60 * float(sys.argv[1] if len(sys.argv) > 1 else 30)
    first = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    mine: list[dict] = []
    commit = commit_name(git_state())  # before the log changes
    with tempfile.TemporaryDirectory() as folder:
        lab = make_photographs(Path(folder))
        (lab / "conf" / "sweeps").mkdir(parents=True)
        (lab / "conf" / "sweeps" / "chaos.yaml").write_text(SWEEP)
        whole = Command(lab, "whole")
        if whole.process.wait():
            print((lab / "whole.txt").read_text(), file=sys.stderr)
            return 1
        seed = first
        while time.monotonic() < until:
            began, runs = time.monotonic(), f"runs{seed}"
            row = {"begun": datetime.now(UTC).isoformat(timespec="seconds"), "seed": seed}
            counts = disturb(lab, runs, random.Random(seed), until)
            counts += compare(lab / "whole", lab / runs)
            row |= counts | {"seconds": round(time.monotonic() - began)}
            row |= {"hardware": processor(), "commit": commit}
            mine.append(row)
            everything = add_row(row)
            print(f"round {len(mine)}: {total([row])}; in the log: {total(everything)}", flush=True)
            if any(counts[name] for name in FAULTS):
                print((lab / f"{runs}.txt").read_text()[-5000:], flush=True)
            seed += 1
    print(f"this session: {len(mine)} rounds, {total(mine)}")
    return int(any(int(row.get(name, 0)) for row in mine for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())

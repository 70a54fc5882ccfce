"""How long do people wait? The same commands of this version and of an earlier one, in turns.

    python experiments/speed/waiting.py [COMMIT] [REPEATS]    writes experiments/speed/waiting.csv

COMMIT (0227951) is checked out beside; REPEATS (5) of each command, old and new in alternation, after one of each that
does not count. Per command and version: median and smallest wall seconds and processor seconds (user and system, of
all its processes), and the ratio of this version to the earlier one in each. On a busy machine the wall seconds say
what the others do; the processor seconds and the ratios hold. The study is `experiment=demo` with 30 updates.
"""

import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from daair.files import replacing  # noqa: E402
from daair.runs.environment import git_state, processor  # noqa: E402
from daair.tasks import unchanged  # noqa: E402

BEFORE, REPEATS = "0227951", 5
STUDY = ["experiment=demo", "train.steps=30", "train.validate_every=15", "logger.mode=disabled"]
ONE_STEP = [
    *("model=daair_tiny", "mix=denoise", "mix.root=data", "mix.patch=16", "mix.val_patch=16", "mix.val_crops=1"),
    *("train.steps=1", "train.batch_size=1", "train.workers=0", "benchmarks=[]", "device=cpu"),
    *("logger.mode=disabled", "study=one"),
]
AFRESH = "task=collate study=demo"  # all of it: what this version remembers of the last time is removed
COMMANDS = {
    AFRESH: ["task=collate", "study=demo"],
    "task=collate, nothing changed": ["task=collate", "study=demo"],
    "one-step training": ONE_STEP,
    "task=restore, one 481x321 picture": ["task=restore", "input=photo.png", "output=restored.png", "device=cpu"],
    "--help": ["--help"],
    "--cfg job": ["--cfg", "job"],
}
Times = dict[str, list[tuple[float, float]]]


def run(tree: Path, arguments: list[str], place: Path) -> tuple[float, float]:
    """Return wall and processor seconds of a command of a version, whose runs are in `place`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, str(tree / "run.py"), *arguments]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(place: Path, tree: Path) -> list[str]:
    """Make the study and the images in a folder, and return the override that names a trained run."""
    pixels = np.random.default_rng(0).integers(0, 255, (321, 481, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "photo.png")
    for part in ("train", "val"):
        folder = place / "data" / part / "clean"
        folder.mkdir(parents=True)
        Image.fromarray(pixels[:48, :48]).save(folder / f"{part}.png")
    run(tree, STUDY, place)
    return [f"checkpoint={next((place / 'runs' / 'demo').glob('*/seed0'))}"]


def measure(trees: dict[str, Path], places: dict[str, Path], repeats: int) -> tuple[dict[str, Times], dict[str, int]]:
    """Return the seconds by command and version, and the bytes of report.html by version."""
    extra = {version: prepare(places[version], tree) for version, tree in trees.items()}
    found: dict[str, Times] = {name: {version: [] for version in trees} for name in COMMANDS}
    for repeat in range(repeats + 1):
        for name, arguments in COMMANDS.items():
            for version, tree in trees.items():
                shutil.rmtree(places[version] / "runs" / "one", ignore_errors=True)
                if name == AFRESH:
                    (places[version] / "runs" / "demo" / unchanged.NAME).unlink(missing_ok=True)
                more = extra[version] if "task=restore" in arguments else []
                seconds = run(tree, [*arguments, *more], places[version])
                if repeat:  # the first fills the caches of files and fonts
                    found[name][version].append(seconds)
    return found, {version: (place / "runs/demo/report.html").stat().st_size for version, place in places.items()}


def rows(found: dict[str, Times], bytes_of: dict[str, int], about: dict[str, object]) -> list[dict[str, object]]:
    """Return a line per command, and one for the size of the report."""
    lines = []
    for name, times in found.items():
        line: dict[str, object] = {"what": name, "unit": "s", "runs": len(times["now"])}
        for k, clock in enumerate(("wall", "cpu")):
            for version in ("before", "now"):
                values = [pair[k] for pair in times[version]]
                line[f"{clock}_{version}"] = round(statistics.median(values), 2)
                line[f"{clock}_{version}_min"] = round(min(values), 2)
            ratios = [now[k] / old[k] for now, old in zip(times["now"], times["before"], strict=True)]
            line[f"{clock}_ratio"] = round(statistics.median(ratios), 3)
        lines.append({**line, **about})
    size = {f"wall_{version}": round(count / 1e6, 2) for version, count in bytes_of.items()}
    ratio = round(bytes_of["now"] / bytes_of["before"], 3)
    return [*lines, {"what": "report.html", "unit": "MB", "runs": 1, **size, "wall_ratio": ratio, **about}]


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else REPEATS
    start = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder, "old")
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", old, commit], check=True, capture_output=True)
        try:
            trees = {"before": old, "now": ROOT}
            places = {version: Path(folder, f"place_{version}") for version in trees}
            for place in places.values():
                place.mkdir()
            found, bytes_of = measure(trees, places, repeats)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", old], check=True)
    git = git_state() or {"commit": "", "dirty": False}
    about = {
        "hardware": processor(),
        "cpus": os.cpu_count(),
        "load": f"{start:.1f} to {os.getloadavg()[0]:.1f}",
        "before": commit[:12],
        "commit": git["commit"][:12] + "+" * bool(git["dirty"]),
    }
    lines = rows(found, bytes_of, about)
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], restval="")
        writer.writeheader()
        writer.writerows(lines)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()

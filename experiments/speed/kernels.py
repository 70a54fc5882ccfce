"""How many operators does an update run? Counts those of this version and of an earlier one.

    python experiments/speed/kernels.py [COMMIT]    writes experiments/speed/kernels.csv

COMMIT (0227951) is checked out beside. A training of five updates is compared with one of six. The difference is one
update, of a network with stages one of its last stage, with all that belongs to it: forward and backward pass,
clipping, optimizer, schedule, moving average, checks. Counted are PyTorch's operators of which each launches one kernel
on a GPU, some a few, without views and bare allocations, which launch none, and without the loader, a process of its
own. `reads` are values that the host reads from the device, where a GPU would be waited for; the one of this version is
left out on a GPU, where values are read only when something is logged. The counts are of the CPU, do not depend on its
speed, and are the same each time.
"""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "0227951"
MODELS = ("daair_tiny", "daair", "daair_naf", "nafnet", "promptir")
RUN = [
    *("mix=denoise", "mix.root=data", "mix.patch=32", "mix.val_patch=16", "mix.val_crops=1", "train.batch_size=2"),
    *("train.workers=1", "benchmarks=[]", "device=cpu", "logger.mode=disabled", "train.validate_every=1000"),
]
READ = "aten._local_scalar_dense"
NO_KERNEL = ("prim.", "profiler.", "aten.empty", "aten.new_empty", "aten.detach", "aten._unsafe_view", "aten.item")
COLUMNS = ("network", "version", "operators", "reads", "before", "commit")


def count(tree: Path, model: str, steps: int, place: Path) -> Counter[str]:
    """Return how often each operator runs in a training, counted in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src")}
    line = [f"model={model}", *RUN, f"train.steps={steps}", f"study={model}-{steps}", f"paths.runs=runs-{tree.name}"]
    script = [sys.executable, str(Path(__file__).resolve()), "--count", str(tree / "run.py"), *line]
    done = subprocess.run(script, cwd=place, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(script)}\n{done.stdout}{done.stderr}")
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def run_and_count(script: str, arguments: list[str]) -> None:
    """Run a script with arguments in this process, and print how often each operator ran."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        counts: Counter[str] = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if not function.is_view:
                self.counts[str(function)] += 1
            return function(*args, **(kwargs or {}))

    sys.argv = [script, *arguments]
    with Counting() as mode:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    print(json.dumps(mode.counts))


def main() -> None:
    sys.path.insert(0, str(ROOT / "src"))
    from daair.files import replacing
    from daair.runs.environment import git_state

    commit = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    git = git_state() or {"commit": "", "dirty": False}
    about = {"before": commit[:12], "commit": git["commit"][:12] + "+" * bool(git["dirty"])}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        for part in ("train", "val"):
            clean = Path(folder, "data", part, "clean")
            clean.mkdir(parents=True)
            Image.fromarray(pixels).save(clean / f"{part}.png")
        old = Path(folder, "old")
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", old, commit], check=True, capture_output=True)
        try:
            for model in MODELS:
                for version, tree in {"before": old, "now": ROOT}.items():
                    if not (tree / "conf" / "model" / f"{model}.yaml").exists():  # a network of later
                        continue
                    update = count(tree, model, 6, Path(folder))
                    update.subtract(count(tree, model, 5, Path(folder)))
                    reads = sum(n for name, n in update.items() if name.startswith(READ))
                    kernels = sum(n for name, n in update.items() if not name.startswith((READ, *NO_KERNEL)))
                    line = {"network": model, "version": version, "operators": kernels, "reads": reads}
                    lines.append({**line, **about})
                    print(line, update.most_common(12), flush=True)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", old], check=True)
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--count"]:
        run_and_count(sys.argv[2], sys.argv[3:])
    else:
        main()

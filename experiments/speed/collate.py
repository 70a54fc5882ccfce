"""How long does it take to collate 10,000 runs, and how much memory? Folders made by hand, each read anew.

    python experiments/speed/collate.py [RUNS] [IMAGES]      writes experiments/speed/collate.csv

RUNS runs (9,999) of a third as many configs, three seeds each; IMAGES images (3) on each of five benchmarks. A run's
folder holds what a training leaves there: the whole frozen config, status, environment, summary, results. Steps:
`read`, the folders to two tables; `write`, runs.parquet and runs.csv; `table`, the study's table with its refusals, as
Markdown and CSV. No reference, and no figures, which a study has only up to 100 variants.
"""

import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from daair.components import locate  # noqa: E402

locate("daair.tasks.collate.collate")  # the imports, as the command line makes them

from daair.cli import conf_dir  # noqa: E402
from daair.config.jobs import Composer  # noqa: E402
from daair.config.validate import validate  # noqa: E402
from daair.report import frame as collate  # noqa: E402
from daair.report import layout, writers  # noqa: E402
from daair.report.table import TableSpec, study_table  # noqa: E402
from daair.runs.environment import git_state, processor  # noqa: E402
from daair.tasks.collate import write_frame  # noqa: E402

BENCHMARKS = ("demo_noise15", "demo_noise25", "demo_noise50", "demo_rain", "demo_haze")
HEADER = "benchmark,protocol,image,width,height,tile,input_psnr,input_ssim,psnr,ssim,step\n"


def make(runs: Path, count: int, images: int) -> None:
    """Write the folders of `count` runs of a study named `many`."""
    composed = Composer(conf_dir()).compose(["scale=tiny", "study=many", "mix=demo"])
    text = yaml.safe_dump(validate(composed).to_dict(), sort_keys=False)
    environment = {"git": {"commit": "0" * 40, "dirty": False}, "processor": "A Processor", "gpus": [], "packages": {}}
    times = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    status = {"state": "done", "attempt": 1, "step": 1000, "steps": 1000, "schema": 1, **times}
    summary = {"parameters": 495_101, "macs": 1_323_107_716, "seconds": 60.0, "images_per_second": 66.7}
    rng = np.random.default_rng(0)
    for number in range(count):
        config, seed = divmod(number, 3)
        rank, lr = 1 + config % 64, 1e-4 * (1 + config // 64)
        frozen = text.replace("\nseed: 0\n", f"\nseed: {seed}\n").replace("rank: 8\n", f"rank: {rank}\n")
        frozen = frozen.replace("lr: 0.002\n", f"lr: {lr!r}\n")
        digits = hashlib.sha1(str(config).encode()).hexdigest()[:8]
        folder = runs / "many" / f"daair_tiny-{digits}" / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(frozen)
        for name, content in (("status", status), ("environment", environment), ("summary", summary)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2))
        lines = [
            f"{name},promptir,{k}.png,512,512,0,{20 + k!r},0.5,{psnr!r},{psnr / 40!r},1000\n"
            for name in BENCHMARKS
            for k, psnr in enumerate(rng.normal(30, 1, images).tolist())
        ]
        (folder / "results.csv").write_text(HEADER + "".join(lines))


def main() -> None:
    count, images = (int(given) for given in (*sys.argv[1:], *("9999", "3")[len(sys.argv) - 1 :]))
    rows = []

    def timed(step: str, action):
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append((step, *(f"{value:.2f}" for value in seconds), f"{peak:.0f}"))
        return result

    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        make(runs, count, images)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        collated = timed("read", lambda: collate.frame(runs, "many"))
        timed("write", lambda: write_frame(collated, runs / "out"))
        spec = TableSpec(rows=("experts.rank", "optimizer.lr"))

        def table() -> str:
            made = study_table(collated, spec, "many")
            return writers.to_markdown(layout.blocks(made), [*layout.notes(made)]) + layout.numbers_csv(made)

        timed("table", table)
    total = [sum(float(row[k]) for row in rows) for k in (1, 2)]
    rows.append(("all", *(f"{value:.2f}" for value in total), rows[-1][3]))
    git = git_state() or {"commit": "", "dirty": False}
    busy = f"{os.getloadavg()[0]:.1f}"
    where = f"{processor()},{os.cpu_count()},{busy},{git['commit'][:12]}{'+' if git['dirty'] else ''}"
    lines = ["step,wall_s,cpu_s,peak_mib,runs,images_per_run,frame_rows,mib_before,processor,cpus,load,commit"]
    size = f"{len(collated.runs)},{images * len(BENCHMARKS)},{len(collated.images)},{before:.0f}"
    lines += [",".join([*row, size, where]) for row in rows]
    Path(__file__).with_suffix(".csv").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

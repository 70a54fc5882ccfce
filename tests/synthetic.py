"""Run folders made by hand, with numbers that are known."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

Row = Mapping[str, Any]


def rows(
    psnr: Mapping[str, float] | Iterable[float], benchmark: str = "cbsd68_sigma25", **columns: Any
) -> list[dict[str, Any]]:
    """Rows of results.csv: PSNR by image; SSIM is a hundredth of it, the input has 20 dB and 0.5."""
    images = dict(psnr) if isinstance(psnr, Mapping) else {f"{i}.png": value for i, value in enumerate(psnr)}
    return [
        {
            "benchmark": benchmark, "protocol": "promptir", "image": image, "width": 480, "height": 320, "tile": 0,
            "input_psnr": 20.0, "input_ssim": 0.5, "psnr": value, "ssim": value / 100, "step": 100, **columns,
        }
        for image, value in images.items()
    ]  # fmt: skip


def make_run(
    runs: Path,
    variant: str,
    seed: int,
    results: Iterable[Row] | None = (),
    *,
    study: str = "rank",
    status: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    choices: Mapping[str, str] | None = None,
    **config: Any,
) -> Path:
    """Write one run's folder, done by default.

    Args:
        runs: the folder of runs.
        variant: `<label>-<8 hexadecimal digits>`.
        seed: of the run.
        results: rows of results.csv; None = it has none.
        study, status, environment, summary, choices, config: what its files say, over the defaults.
    """
    folder = runs / study / variant / f"seed{seed}"
    folder.mkdir(parents=True)
    frozen = {
        "model": {"_target_": "daair.models.daair.DaAIR", "channels": 8},
        "experts": {"count": 5, "rank": 4},
        "mix": {"patch": 64, "root": None},
        "train": {"steps": 100, "batch_size": 4, "accumulation": 1, "budget": None, "progressive": []},
        "seed": seed,
        "study": study,
        "question": None,
        "collate": {"rows": ["experts.rank"], "columns": None, "metrics": None, "reference": None, "published": None},
    }
    for key, value in config.items():
        frozen[key] = {**frozen[key], **value} if isinstance(value, Mapping) and frozen.get(key) else value
    frozen["choices"] = {"model": "daair_tiny", "router": "top1", "mix": "aio3", **(choices or {})}
    (folder / "config.yaml").write_text(yaml.safe_dump(frozen, sort_keys=False))
    stands = {
        "state": "done", "attempt": 1, "step": 100, "steps": 100, "commit": "c" * 40, "device": "cpu",
        "started": "2026-11-01T10:00:00+00:00", "finished": "2026-11-01T11:00:00+00:00", "schema": 1,
    }  # fmt: skip
    (folder / "status.json").write_text(json.dumps({**stands, **(status or {})}))
    machine = {"processor": "A Processor", "gpus": [], "packages": {"torch": "2.14.1"}, "command": ["run.py"]}
    (folder / "environment.json").write_text(json.dumps({**machine, **(environment or {})}))
    noted = {
        "parameters": 500_000,
        "macs": 10**9,
        "images_per_second": 30.0,
        "seconds": 60.0,
        "training_data": "d" * 12,
        "processes": 1,
    }
    (folder / "summary.json").write_text(json.dumps({**noted, **(summary or {})}))
    if results is not None:
        table = list(results) or rows([30.0, 31.0])
        lines = [",".join(table[0]), *(",".join(str(value) for value in row.values()) for row in table)]
        (folder / "results.csv").write_text("\n".join(lines) + "\n")
    return folder


def runs_of_variants(**columns: list) -> pd.DataFrame:
    """Two seeds of each variant, with these columns."""
    count = len(next(iter(columns.values())))
    ids = [f"{i // 2:08x}" for i in range(count)]
    facts = {
        "variant": [f"tiny-{name}" for name in ids],
        "id": ids,
        "label": ["tiny"] * count,
        "seed": [0, 1] * (count // 2),
    }
    return pd.DataFrame(facts | columns)

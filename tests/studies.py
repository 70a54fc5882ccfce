"""Hand-made run folders: small studies with known numbers, as training would have left them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from daair.runs import samples
from daair.runs.record import Record
from daair.runs.samples import EXTREMES, SHOWN, Sample

LABELS = ("noise25", "rain", "haze")
STEPS = 100


def make_run(
    runs: Path,
    variant: str,
    seed: int,
    keys: Mapping[str, Any],
    gain: float,
    *,
    study: str = "rank",
    benchmarks: Sequence[str] = ("demo_noise25", "demo_rain"),
    images: int = 4,
    routed: bool = True,
    pictures: bool = True,
) -> Record:
    """A finished run whose images gain `gain` dB on average; `keys` are dotted config keys."""
    record = Record(runs / study / variant / f"seed{seed}")
    rng = np.random.default_rng([seed, *variant.encode()])
    config: dict[str, Any] = {
        "model": {"_target_": "daair.models.daair.DaAIR", "encoder_blocks": [1, 2], "decoder_blocks": [1]},
        "experts": {"count": 5, "rank": 4},
        "router": {"_target_": "daair.models.router.Top1", "noise": 1.0},
        "train": {"steps": STEPS},
        "seed": seed,
        "study": study,
        "question": "How large must the rank be?",
        "choices": {"model": "daair_tiny", "router": "top1"},
    }
    for key, value in keys.items():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    environment = {"git": {"commit": "0123456789abcdef", "dirty": False}, "processor": "a processor", "command": []}
    record.start(config, environment, "", STEPS)
    config_rank = config["experts"]["rank"]
    record.summarise(parameters=400_000 + 10_000 * config_rank, macs=10**9 * (1 + config_rank / 10), seconds=60.0)
    _metrics(record, gain, rng, config["experts"]["count"] if routed else 0)
    rows = [
        {
            "benchmark": benchmark, "protocol": "promptir", "image": f"{i}.png", "width": 32, "height": 32, "tile": 0,
            "input_psnr": 20.0 + i, "input_ssim": 0.5, "psnr": 20.0 + i + gain + b + 0.1 * (i - (images - 1) / 2),
            "ssim": 0.8, "step": STEPS,
        }
        for b, benchmark in enumerate(benchmarks)
        for i in range(images)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(record.results_file, index=False)
    for row in rows if pictures else ():
        if row["image"] in ("0.png", f"{images - 1}.png"):
            which = EXTREMES[row["image"] == "0.png"]
            names = {name: row[name] for name in ("benchmark", "protocol", "image", "input_psnr", "psnr")}
            _keep(record, Sample(**names, which=which, strip=_strip(rng)))
            if row["image"] == "0.png":  # its input is the same for every run
                strip = _strip(np.random.default_rng(0), 10 ** (gain / 20))
                _keep(record, Sample(**names, which=SHOWN, strip=strip, left=10, top=20))
    record.update(state="done", step=STEPS)
    return record


def make_study(runs: Path, seeds: Sequence[int] = (0, 1, 2), ranks: Sequence[int] = (2, 4, 8)) -> Path:
    """Ranks times seeds; the gain grows with the rank, by 0.1 dB with the seed."""
    for rank in ranks:
        for seed in seeds:
            make_run(runs, f"rank{rank}-{rank:08x}", seed, {"experts.rank": rank}, 3 + np.log2(rank) + 0.1 * seed)
    return runs


def _metrics(record: Record, gain: float, rng: np.random.Generator, experts: int) -> None:
    for step in range(10, STEPS + 1, 10):
        part = 1 - np.exp(-step / 30)
        record.log(step, {"train/loss": 0.3 * (1 - 0.8 * part) + 0.01 * rng.random(), "train/lr": 1e-3})
        if step % 20 == 0:
            psnr = {f"val/psnr/{name}": 20 + gain * part + i + 0.1 * rng.random() for i, name in enumerate(LABELS)}
            line: dict[str, Any] = {**psnr, "val/psnr": float(np.mean(list(psnr.values())))}
            if experts:
                shares = rng.dirichlet(np.full(experts, 0.3), (4, len(LABELS))).transpose(0, 2, 1).round(4)
                line |= {"routing/mutual_information": 0.4 + 0.1 * rng.random()}
                line |= {"routing/utilisation": {"mean": shares.mean(axis=0).tolist(), "learners": shares.tolist()}}
            else:
                line |= {"routing/utilisation": {"mean": [], "learners": []}}
            record.log(step, json.loads(json.dumps(line)))


def _keep(record: Record, sample: Sample) -> None:
    samples.write(record.sample_file(sample.benchmark, sample.which), sample)


def _strip(rng: np.random.Generator, less: float = 4) -> np.ndarray:
    """Input, restored and clean picture; the restored one has so many times less noise than the input."""
    y, x = np.mgrid[:48, :64]
    clean = np.stack([x * 4, y * 5, 255 - x * 4], axis=2).clip(0, 255)
    noise = rng.normal(0, 25, clean.shape)
    strip = np.concatenate([clean + noise, clean + noise / less, clean], axis=1)
    return strip.clip(0, 255).astype(np.uint8)

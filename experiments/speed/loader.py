"""Does training wait for its images? Samples/s of the loader (one worker) against the network's.

    .venv/bin/python experiments/speed/loader.py [mix.root=DIR]   writes experiments/speed/loader.csv, about a minute

The loader draws samples of a mix in this process, one thread, images decoded beforehand as training does it; the
network is daair_tiny taking training steps on 8 crops, one thread. They take turns.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from daair import checkpoint, components
from daair.cli import conf_dir
from daair.config import validate
from daair.files import replacing
from daair.runs.environment import git_state, processor

ROUNDS, BATCH, PATCHES = 12, 8, (64, 128)


def measure(mix_name: str, patch: int, overrides: list[str], commit: str) -> dict[str, object]:
    """One row: samples/s of loader and network at one crop size."""
    chosen = [f"mix={mix_name}", "model=daair_tiny", f"mix.patch={patch}", *overrides]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = validate(compose("config", chosen), {})
    mix = components.build(cfg.mix)
    mix.prepare()
    dataset = mix.train_dataset(seed=0)
    model = checkpoint.build(cfg.model).to(memory_format=torch.channels_last).train()
    criterion = components.build(cfg.loss)
    optimizer = components.build(cfg.optimizer)(p for p in model.parameters() if p.requires_grad)
    loader, network = [], []
    for number in range(ROUNDS + 1):
        begun = time.perf_counter()
        samples = [dataset[number * 64 + k] for k in range(64)]
        loader.append(64 / (time.perf_counter() - begun))
        batch = torch.utils.data.default_collate(samples[:BATCH])
        begun = time.perf_counter()
        restored = model(batch["input"], batch["label"], with_routing=True)
        criterion(restored.image, batch["target"], restored.aux)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
        network.append(BATCH / (time.perf_counter() - begun))
    drawn, used = float(np.median(loader[1:])), float(np.median(network[1:]))
    return {
        "mix": mix_name,
        "patch": patch,
        "loader_samples_per_s": round(drawn, 1),
        "network_samples_per_s": round(used, 1),
        "ratio": round(drawn / used, 1),
        "hardware": processor(),
        "torch": torch.__version__,
        "commit": commit,
    }


def main() -> None:
    torch.set_num_threads(1)
    overrides = sys.argv[1:]
    with_data = any(override.startswith("mix.root=") for override in overrides)
    mixes = ["demo", "denoise", "aio3"] if with_data else ["demo"]
    commit = (git_state() or {}).get("commit", "")[:12]
    rows = [measure(name, patch, overrides, commit) for name in mixes for patch in PATCHES]
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            f"{row['mix']:8s} {row['patch']:4d} px   loader {row['loader_samples_per_s']:7.1f}/s   "
            f"network {row['network_samples_per_s']:5.1f}/s   x {row['ratio']}"
        )


if __name__ == "__main__":
    main()

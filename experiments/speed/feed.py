"""How many loader processes does a network need? Compares what one of them gives with what a device takes.

    .venv/bin/python experiments/speed/feed.py mix.root=DIR                     writes experiments/speed/feed.csv
    .venv/bin/python experiments/speed/feed.py mix.root=DIR device=cuda mix=aio5

For networks of published size: the crops of 128 pixels that its updates take in a second on the device (forward and
backward pass and optimizer, the median of `REPEATS`), the samples of the mix (aio3) that one core makes in a second by
processor time, and how many loader processes (`train.workers`) for each training process that is. A device that takes
more than all cores of its machine give waits; the last column says how many such devices 100 cores can feed.
"""

import csv
import math
import statistics
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from loader import build, rate

from daair import checkpoint, components
from daair.cli import conf_dir
from daair.config.validate import validate
from daair.engine.costs import TrainingStep, interleaved_seconds
from daair.files import replacing
from daair.runs.environment import commit_name, git_state, processor

NETWORKS = ("daair", "daair_naf", "nafnet")  # the fastest of those in docs/networks.md; the others need less
PATCH, ROUNDS, REPEATS = 128, 8, 3
BATCH = {"cpu": 2, "cuda": 16}  # crops of an update by kind of device


def network_rate(name: str, device: torch.device) -> float:
    """Return the crops per second that the updates of a network take."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = validate(compose("config", [f"model={name}"]), {})
    model = checkpoint.build(cfg.model).to(device)
    batch = BATCH[device.type]
    step = TrainingStep(model, components.build(cfg.loss), components.build(cfg.optimizer), PATCH, batch)
    return batch / statistics.median(interleaved_seconds({name: step}, REPEATS, device)[name])


def loader_rate(mix_name: str, overrides: list[str]) -> float:
    """Return the samples per second that one core makes."""
    mix, _ = build(mix_name, PATCH, overrides)
    samples = mix.train_dataset(seed=0)
    rates = [rate(samples.__getitem__, number * 100) for number in range(ROUNDS + 1)]
    return statistics.median(rates[1:])


def main() -> None:
    torch.set_num_threads(1)
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    device, mix = torch.device(given.pop("device", "cpu")), given.pop("mix", "aio3")
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, one core"
    per_core = loader_rate(mix, [f"{key}={value}" for key, value in given.items()])
    lines = []
    for name in NETWORKS:
        takes = network_rate(name, device)
        line = {
            "network": name,
            "mix": mix,
            "device_images_per_s": round(takes, 2),
            "core_samples_per_s": round(per_core, 1),
            "workers": math.ceil(takes / per_core),
            "devices_per_core": math.floor(per_core / takes),
        }
        print("  ".join(f"{key} {value}" for key, value in line.items()), flush=True)
        lines.append({**line, "hardware": hardware, "torch": torch.__version__, "commit": commit_name(git_state())})
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()

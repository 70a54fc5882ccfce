"""How fast training samples come, and how long training waits for them.

    .venv/bin/python experiments/speed/loader.py mix.root=DIR       writes experiments/speed/loader.csv, some minutes
    .venv/bin/python experiments/speed/loader.py mix.root=DIR only=waiting

Part 1, one row per mix: samples/s of one process and thread, of this loader and of the pipeline that AirNet, PromptIR
and their successors share (`Pipeline` below: open the file, cut, turn and degrade, at every sample), on the same images
with the same degradations at 128 pixels. They take turns within one run, and processor time is counted, so that other
work on the machine does not matter much; the median of the rounds counts. The pipeline's noise is NumPy's, as theirs
is. Mix `demo` is left out: most of its pictures are no files.

Part 2, row `wait`: the share of its time that a training of daair_tiny on aio5 spends waiting for the next batch,
measured in the loop, one loader process and one thread, 8 crops of 64 pixels an update, without the first update, which
starts the worker.
"""

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch.utils.data import DataLoader

from daair import checkpoint, components
from daair.cli import conf_dir
from daair.config.validate import validate
from daair.data.mix import Mix
from daair.data.order import StepSampler
from daair.engine.loader import Batches
from daair.files import replacing
from daair.losses import total_loss
from daair.runs.environment import git_state, processor

MIXES = ("denoise", "derain", "dehaze", "deblur", "lowlight", "desnow", "dejpeg", "aio3", "aio5", "cdd11", "paired")
PAIRS = [f"mix.tasks.paired.pairs.{part}=deraining/rain100h/train/{part}" for part in ("input", "target")]
ROUNDS, SAMPLES, UPDATES = 12, 40, 60
SIGMAS = {"noise15": 15, "noise25": 25, "noise50": 50}


class Pipeline:
    """What the repositories of this family do for a sample (the data sets of AirNet, PromptIR, AdaIR): nothing kept.

    Args:
        mix: Gives files, degradations and the order of samples.
        seed: As of the training data set that it is compared with.
    """

    def __init__(self, mix: Mix, seed: int) -> None:
        self.mix, self.like = mix, mix.train_dataset(seed)
        self.rng = np.random.default_rng(seed)
        self.files = [[] if images is None else list(images.pictures) for images in self.like.images]

    def __getitem__(self, key: int) -> dict:
        epoch, index = divmod(key, len(self.like))
        label, which = self.like.epochs.at(epoch, index)
        images = [np.array(Image.open(file).convert("RGB")) for file in self.files[label][which]]
        images = [image[: image.shape[0] // 16 * 16, : image.shape[1] // 16 * 16] for image in images]
        patch = self.mix.patch
        top, left = (self.rng.integers(side - patch + 1) for side in images[0].shape[:2])
        pose = self.rng.integers(8)
        turned = [np.rot90(image[top : top + patch, left : left + patch], pose % 4) for image in images]
        turned = [np.flipud(image) if pose > 3 else image for image in turned]
        clean = turned[0]
        degraded = turned[1] if len(turned) == 2 else self.degrade(np.ascontiguousarray(clean), label)
        return {"input": totensor(degraded), "target": totensor(clean), "label": label, "key": key}

    def degrade(self, clean: np.ndarray, label: int) -> np.ndarray:
        """As in `utils/degradation_utils.py` of PromptIR; what it does not know by the lab's own functions."""
        name = self.mix.labels[label]
        if name in SIGMAS:
            return np.clip(clean + self.rng.standard_normal(clean.shape) * SIGMAS[name], 0, 255).astype(np.uint8)
        return self.mix.tasks[name].degrade(clean, self.rng)


def totensor(image: np.ndarray) -> torch.Tensor:
    """torchvision's ToTensor."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).contiguous().float().div(255)


def build(mix_name: str, patch: int, overrides: list[str]) -> tuple[Mix, object]:
    """A prepared mix and the whole config."""
    chosen = [f"mix={mix_name}", "model=daair_tiny", f"mix.patch={patch}", *overrides]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = validate(compose("config", chosen), {})
    mix = components.build(cfg.mix)
    mix.prepare()
    return mix, cfg


def rate(draw: Callable[[int], object], first: int) -> float:
    """Samples per second of processor time."""
    begun = time.process_time()
    for key in range(first, first + SAMPLES):
        draw(key)
    return SAMPLES / (time.process_time() - begun)


def compare(mix_name: str, overrides: list[str]) -> dict[str, object]:
    """A row of part 1."""
    mix, _ = build(
        mix_name, 128, [*overrides, *([*PAIRS, "mix.tasks.paired.pairs.rule=rain"] if mix_name == "paired" else [])]
    )
    ours, theirs = mix.train_dataset(seed=0), Pipeline(mix, seed=0)
    here, there = [], []
    for number in range(ROUNDS + 1):
        here.append(rate(ours.__getitem__, number * SAMPLES))
        there.append(rate(theirs.__getitem__, number * SAMPLES))
    ratios = np.array(here[1:]) / there[1:]
    return {
        "mix": mix_name,
        "loader_samples_per_s": round(float(np.median(here[1:])), 1),
        "pipeline_samples_per_s": round(float(np.median(there[1:])), 1),
        "ratio": round(float(np.median(ratios)), 2),
        "lowest_ratio": round(float(ratios.min()), 2),
        "waiting": "",
    }


def waiting(overrides: list[str]) -> dict[str, object]:
    """The row of part 2."""
    mix, cfg = build("aio5", 64, overrides)
    model = checkpoint.build(cfg.model).to(memory_format=torch.channels_last).train()
    criterion = components.build(cfg.loss)
    optimizer = components.build(cfg.optimizer)(p for p in model.parameters() if p.requires_grad)
    sampler = StepSampler(8, 0, 1, start=0, stop=UPDATES + 1)
    batches = Batches(DataLoader(mix.train_dataset(seed=0), batch_sampler=sampler, num_workers=1))
    for update, batch in enumerate(batches):
        if update == 0:
            batches.share()
        learned = model.routed(batch["input"], batch["label"])
        total_loss(criterion, learned.image, batch["target"], learned.terms)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    empty = dict.fromkeys(("loader_samples_per_s", "pipeline_samples_per_s", "ratio", "lowest_ratio"), "")
    return {"mix": "wait", **empty, "waiting": round(batches.share(), 4)}


def main() -> None:
    torch.set_num_threads(1)
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("only=")]
    rows = [] if "only=waiting" in sys.argv else [show(compare(name, overrides)) for name in MIXES]
    rows.append(show(waiting(overrides)))
    if "only=waiting" in sys.argv:
        return
    commit = (git_state() or {}).get("commit", "")[:12]
    rows = [row | {"hardware": processor(), "torch": torch.__version__, "commit": commit} for row in rows]
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def show(row: dict[str, object]) -> dict[str, object]:
    """Print a row, and return it."""
    print("  ".join(f"{name} {value}" for name, value in row.items() if value != ""), flush=True)
    return row


if __name__ == "__main__":
    main()

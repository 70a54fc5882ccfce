"""Is evaluation dominated by its metrics? PSNR and SSIM of an image against the network's forward pass on it.

    .venv/bin/python experiments/speed/metrics.py        writes experiments/speed/metrics.csv, about 2 minutes on a CPU

For each image evaluation computes PSNR and SSIM twice, of the input and of the restored image. Networks, our metrics,
scikit-image's and piq's take turns, one thread each; the times are the processor's, which other work on the machine
hardly touches. `share` is the metrics' part of network plus metrics, the median over rounds. Evaluation computes the
metrics in other threads while the network works on the next image, so their part of the wall clock is smaller still.
`by_scikit_image` and `by_piq`: their time for the same figures (protocols promptir and basicsr_rgb) over ours.
"""

import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import piq
import torch
from hydra import compose, initialize_config_dir
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from daair import checkpoint
from daair.cli import conf_dir
from daair.config.validate import validate
from daair.files import replacing
from daair.metrics import PROTOCOLS
from daair.runs.environment import git_state, processor

MODELS = ("daair_tiny", "daair_small")
SIZES = ((320, 480), (448, 640))  # BSD's, and one larger than 512 pixels
ROUNDS = 5


def forward(name: str, image: np.ndarray) -> Callable[[], object]:
    """One pass of a network."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        model = checkpoint.build(validate(compose("config", [f"model={name}"]), {}).model).eval()
    x = torch.from_numpy(image.transpose(2, 0, 1)[None]).contiguous()
    return partial(torch.inference_mode()(model), x)


def ours(protocols: list[str], degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> None:
    """What evaluation computes for an image."""
    for name in protocols:
        for image in (degraded, restored):
            PROTOCOLS[name].psnr(image, clean)
            PROTOCOLS[name].ssim(image, clean)


def skimage(degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> None:
    """The same figures as protocol promptir's, by scikit-image."""
    for image in (degraded, restored):
        peak_signal_noise_ratio(clean / 255, image, data_range=1)
        structural_similarity(image, (clean / 255).astype(np.float32), data_range=1, channel_axis=-1)


def piqs(degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> None:
    """The same figures as protocol basicsr_rgb's, by piq in float32."""
    target, *images = (
        torch.from_numpy(np.float32(i).transpose(2, 0, 1)[None]) for i in (clean / 255, degraded, restored)
    )
    for image in images:
        piq.psnr(image, target, data_range=1.0)
        piq.ssim(image, target, data_range=1.0, downsample=False)


def seconds(function: Callable[[], object]) -> float:
    """Of processor time for one call."""
    begun = time.process_time()
    function()
    return time.process_time() - begun


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rows = []
    for height, width in SIZES:
        clean = cv2.resize(data.hubble_deep_field(), (width, height), interpolation=cv2.INTER_AREA)
        noisy = np.clip(clean / 255 + np.random.default_rng(0).normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)
        images = ((noisy * 255).astype(np.uint8), noisy, clean)
        work = {name: forward(name, noisy) for name in MODELS}
        for name, protocols in {**{p: [p] for p in PROTOCOLS}, "all protocols": [*PROTOCOLS]}.items():
            work[name] = partial(ours, protocols, *images)
        work |= {"scikit-image": partial(skimage, noisy, noisy, clean), "piq": partial(piqs, noisy, noisy, clean)}
        for function in work.values():
            function()
        rounds = [{name: seconds(function) for name, function in work.items()} for _ in range(ROUNDS)]
        times = {name: np.array([one[name] for one in rounds]) for name in work}
        for model in MODELS:

            def share(metrics: str, model: str = model) -> float:
                return round(float(np.median(times[metrics] / (times[metrics] + times[model]))), 3)  # noqa: B023

            def over(theirs: str, metrics: str) -> float:
                return round(float(np.median(times[theirs] / times[metrics])), 1)  # noqa: B023

            rows.append(
                {
                    "model": model,
                    "size": f"{width}x{height}",
                    "network_ms": round(1000 * float(np.median(times[model]))),
                    "metrics_ms": round(1000 * float(np.median(times["promptir"]))),
                    "share_promptir": share("promptir"),
                    "share_basicsr_rgb": share("basicsr_rgb"),
                    "share_basicsr_y": share("basicsr_y"),
                    "share_all_four": share("all protocols"),
                    "by_scikit_image": over("scikit-image", "promptir"),
                    "by_piq": over("piq", "basicsr_rgb"),
                    "rounds": ROUNDS,
                    "hardware": processor(),
                    "torch": torch.__version__,
                    "commit": (git_state() or {}).get("commit", "")[:12],
                }
            )
    with replacing(Path(__file__).with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("hardware", "torch", "commit"))
        )


if __name__ == "__main__":
    main()

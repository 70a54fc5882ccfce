"""Does a training step cost more with more experts? Interleaved timings of otherwise equal networks.

    .venv/bin/python experiments/speed/experts.py        writes experiments/speed/experts.csv, about 2 minutes on a CPU

For each network (daair_tiny; 8 crops of 64 pixels) a step is forward, backward and AdamW. The networks take turns, so
that whatever else the machine does hits all of them; the table gives medians, and each ratio is the median over rounds
of that round's ratio to N = 1.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from daair.files import replacing
from daair.models.daair import DaAIR
from daair.models.experts import ExpertLayout
from daair.runs.environment import git_state, processor

SIZES = {"channels": 14, "encoder_blocks": (1, 1, 1, 1), "decoder_blocks": (1, 1, 1), "heads": (1, 2, 4, 7)}
COUNTS = (1, 2, 4, 8, 16)


class Trained:
    """A network with its optimizer and a step to time."""

    def __init__(self, count: int, device: torch.device) -> None:
        torch.manual_seed(0)
        layout = ExpertLayout(count=count, rank=8)
        self.model = DaAIR(**SIZES, expansion=1.5, sampling="strided", experts=layout).to(device).train()
        self.model.to(memory_format=torch.channels_last)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step(self, x: torch.Tensor) -> float:
        """Seconds of one training step."""
        begun = time.perf_counter()
        learned = self.model.routed(x)
        (learned.image.square().mean() + 0.01 * learned.terms["router"]).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.after_update()
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.rand(8, 3, 64, 64, device=device)
    networks = {count: Trained(count, device) for count in COUNTS}
    for network in networks.values():
        network.step(x)
    rounds = []
    for number in range(options.rounds):
        order = COUNTS if number % 2 == 0 else COUNTS[::-1]
        seconds = {count: networks[count].step(x) for count in order}
        rounds.append([seconds[count] for count in COUNTS])
    times = np.array(rounds)
    commit = (git_state() or {}).get("commit", "")
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    rows = [
        {
            "experts": count,
            "parameters_m": round(networks[count].model.num_parameters() / 1e6, 3),
            "step_ms": round(1000 * float(np.median(times[:, i])), 1),
            "ratio_to_1": round(float(np.median(times[:, i] / times[:, 0])), 3),
            "rounds": options.rounds,
            "threads": options.threads,
            "hardware": hardware,
            "torch": torch.__version__,
            "commit": commit[:12],
        }
        for i, count in enumerate(COUNTS)
    ]
    with replacing(options.output) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"N = {row['experts']:2d}   {row['step_ms']:6.1f} ms   x {row['ratio_to_1']:.3f}")


if __name__ == "__main__":
    main()

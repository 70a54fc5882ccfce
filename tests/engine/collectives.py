"""`run.py` that also writes which collectives each update starts: `FILE.<rank>` gets a line of JSON for each update."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from daair.cli import entry
from daair.engine.divergence import Update
from daair.engine.train import Trainer

FILE = Path(f"{sys.argv.pop(1)}.{os.environ['RANK']}")
plain = Trainer.update


def update(trainer: Trainer, step: int) -> Update:
    """Make an update as on a device whose values are not read in between, and count what reaches other processes."""
    trainer.waits = True
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        made = plain(trainer, step)
    started = Counter(event.name.removeprefix("c10d::") for event in recorded.events() if event.name.startswith("c10d"))
    with FILE.open("a") as file:
        file.write(json.dumps(started) + "\n")
    return made


Trainer.update = update
if __name__ == "__main__":
    sys.exit(entry())

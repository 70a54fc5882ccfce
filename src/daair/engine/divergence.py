"""Notice that a training has diverged, without waiting for the device after each update."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from daair.engine import checkpoints
from daair.errors import UserError


class Update(NamedTuple):
    """What came of one update, in this process; tensors stay on the device.

    Attributes:
        loss, norm, weight_norm: of the last micro-batch, of the gradient, of the weights; scalars.
        labels: (B,) of each micro-batch.
        parts: the loss and its terms by name, for each micro-batch; the gradient's norm in the last.
    """

    loss: Tensor
    norm: Tensor
    weight_norm: Tensor
    labels: list[Tensor]
    parts: list[dict[str, Tensor]]


def updates_ago(updates: Sequence[Update]) -> int:
    """Return how many updates ago the first one with a value that is not finite was, 1 = the last; 0 = none.

    This waits for the device, once for all of them.
    """
    values = [update.loss + update.norm + update.weight_norm for update in updates]
    finite = torch.isfinite(torch.stack(values)).tolist() if values else []
    return len(finite) - finite.index(False) if False in finite else 0


def diverged(step: int, made: Update, names: Sequence[str], accelerator: Accelerator, folder: Path) -> UserError:
    """Return an error with the step, the norms, the batch of all processes and the remedy; all processes must call it.

    Args:
        step: Number of the update, from 1.
        made: What came of it.
        names: Of the labels.
        accelerator: The run's processes.
        folder: Of the checkpoints.
    """
    everywhere = accelerator.gather(torch.cat(made.labels))
    counts = Counter(names[i] for i in everywhere.tolist())
    batch = ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
    saved = checkpoints.found(folder)
    good = f"last good checkpoint: {saved[-1]}" if saved else "there is no checkpoint yet"
    return UserError(
        f"training diverged at step {step}: loss {made.loss}, gradient norm {made.norm}, weight norm "
        f"{made.weight_norm} (batch: {batch}); {good}; "
        "try a lower optimizer.lr, a longer schedule.warmup or a lower train.clip_grad"
    )

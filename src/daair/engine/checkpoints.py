"""Write and read training checkpoints: Accelerate's state of network and optimizer, and the averaged weights.

A checkpoint is written completely or not at all:

    checkpoints/step-00001500/    model.safetensors, optimizer.bin, averaged.safetensors, model.json, ...

The averaged weights are written here and not registered with Accelerate, which would pickle them; unpickling a foreign
file could run any code. Accelerate loads its own remaining files as plain data. With model.json beside them, the
averaged weights can be used on their own (`daair.checkpoint.find_weights`).
"""

import shutil
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from daair.checkpoint import AVERAGED, plain_state
from daair.errors import UserError, reason
from daair.files import replacing_folder


def save(
    accelerator: Accelerator,
    averaged: nn.Module,
    folder: Path,
    step: int,
    keep: int,
    every: int | None = None,
    description: str = "",
) -> Path:
    """Write `folder/step-<step>` and remove all but the newest checkpoints; all processes must call this.

    Args:
        keep: The number of newest checkpoints to keep.
        every: Checkpoints of a multiple of so many updates stay as well.
        description: The text of model.json, see `daair.checkpoint.description`; without it there is no such file.
    """
    path = folder / f"step-{step:08d}"
    # One writer suffices: ranks hold equal states, and all randomness depends on the step (see engine/setup.py).
    if accelerator.is_main_process and not path.exists():
        with replacing_folder(path) as temporary:
            accelerator.save_state(str(temporary))
            save_file(plain_state(averaged), temporary / AVERAGED)
            if description:
                (temporary / "model.json").write_text(description, encoding="utf-8")
        for old in found(folder)[: -max(1, keep)]:
            if every is None or step_of(old) % every:
                shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return path


def found(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint; 0 if there is none."""
    return max(map(step_of, found(folder)), default=0)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint."""
    return int(path.name.removeprefix("step-"))


def resume(accelerator: Accelerator, averaged: nn.Module, folder: Path) -> int:
    """Load the newest checkpoint, `averaged` included, and return its step; 0 if there is none.

    Raises:
        UserError: The newest checkpoint cannot be read.
    """
    if not (step := newest_step(folder)):
        return 0
    newest = found(folder)[-1]
    if not (newest / AVERAGED).is_file():
        text = f"{newest}: has no {AVERAGED} (damaged, or of an earlier version)"
        raise UserError(f"{text}; remove it to go on from the one before, or from the start")
    try:
        accelerator.load_state(str(newest))
        averaged.load_state_dict(load_file(newest / AVERAGED))
    except Exception as error:
        text = f"{newest}: cannot be loaded ({reason(error)}); remove it to go on from the one before"
        raise UserError(text) from error
    return step

"""Checkpoints to go on from: Accelerate's state of model, optimizer and averaged weights, written whole or not at all.

checkpoints/step-00001500/    model.safetensors, optimizer.bin, custom_checkpoint_0.pkl (averaged weights), ...
"""

import shutil
from pathlib import Path

from accelerate import Accelerator

from daair.errors import UserError
from daair.files import replacing_folder


def save(accelerator: Accelerator, folder: Path, step: int, keep: int) -> Path:
    """Write `folder/step-<step>` and remove all but the newest `keep`. All processes call this; one writes."""
    path = folder / f"step-{step:08d}"
    # Ranks hold equal states and all randomness is keyed by the step (see engine/setup.py): one writer suffices.
    if accelerator.is_main_process and not path.exists():
        with replacing_folder(path) as temporary:
            accelerator.save_state(str(temporary))
        for old in found(folder)[: -max(1, keep)]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return path


def found(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def resume(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest checkpoint; returns its step, 0 when there is none.

    Raises:
        UserError: the newest one cannot be read.
    """
    checkpoints = found(folder)
    if not checkpoints:
        return 0
    newest = checkpoints[-1]
    try:
        accelerator.load_state(str(newest))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{newest}: cannot be loaded ({reason}); remove it to go on from the one before") from error
    return int(newest.name.removeprefix("step-"))

"""`task=restore`: picture files in, restored pictures of the same size and kind out.

What "the same kind" means is told in `daair.data.images`. A folder is searched with its sub-folders, which the output
mirrors; files whose names do not end like a picture's, and hidden ones, are skipped and named. A file that cannot be
restored is reported and the others are still done.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from daair import checkpoint
from daair.components import is_foreign
from daair.data import images
from daair.engine.devices import resolve_device
from daair.engine.progress import Reporter
from daair.engine.tiling import restore_within_memory
from daair.errors import UserError
from daair.models.router import Oracle

if TYPE_CHECKING:
    from daair.config.jobs import Job
    from daair.config.schema import Config

LISTED = 5
"""Skipped files that are named; the count says how many there are."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to restore.

    Attributes:
        source: File to read.
        target: File to write.
        by_suffix: Whether the suffix of `target` chooses the format; else it is that of the file read.
    """

    source: Path
    target: Path
    by_suffix: bool = False


def restore(job: "Job") -> int:
    """Restore `job.config.input` into `job.config.output` with the model of `job.config.checkpoint`.

    Returns:
        Exit status: 0, or 1 if a file could not be restored.

    Raises:
        UserError: Nothing can be started, e.g. no input, or a result would overwrite an input.
    """
    cfg = job.config
    for key in ("checkpoint", "input", "output"):
        if getattr(cfg, key) is None:
            raise UserError(f"{key}: task=restore needs it: checkpoint=RUN_OR_FILE input=IMAGE_OR_DIR output=DIR")
    tile, overlap = cfg.restore.tile, cfg.restore.overlap
    if tile is not None and overlap >= tile:
        raise UserError(f"restore.overlap: must be less than restore.tile ({tile}), got {overlap}")
    output = Path(cfg.output)
    jobs, skipped = find_jobs(Path(cfg.input), output)
    device = resolve_device(cfg.device)
    model = load_model(cfg, device)
    label = label_index(model, cfg.restore.degradation)

    def apply(x: Tensor, say: Callable[[str], None]) -> Tensor:
        labels = None if label is None else torch.full((len(x),), label)
        return restore_images(model, x, tile, overlap, labels, say)

    reporter, failed = Reporter(), []
    with reporter.progress("restoring", len(jobs)) as bar:
        for job in jobs:
            try:
                restore_file(job, output, apply, reporter.say)
            except UserError as error:
                reporter.say(f"not restored: {error}")
                failed.append(str(job.source))
            bar.advance(job.source.name, images=1)
    if skipped:
        what = "file that is not a picture" if len(skipped) == 1 else "files that are not pictures"
        more = ", ..." if len(skipped) > LISTED else ""
        print(f"skipped {len(skipped)} {what}: {', '.join(path.name for path in skipped[:LISTED])}{more}")
    if failed:
        print(f"not restored ({len(failed)}, reasons above):", *failed, sep="\n  ")
    where = jobs[0].target if jobs[0].by_suffix else output
    print(f"restored {len(jobs) - len(failed)} of {len(jobs)} {'picture' if len(jobs) == 1 else 'pictures'}: {where}")
    return 1 if failed else 0


def load_model(cfg: "Config", device: torch.device) -> nn.Module:
    """Return the network of `cfg.checkpoint`; with `model._target_=my.module.Net` that class with these weights."""
    if not is_foreign(cfg.model):
        return checkpoint.load(cfg.checkpoint, device=device)
    model = checkpoint.build(cfg.model)
    checkpoint.load_weights(model, checkpoint.find_weights(cfg.checkpoint))
    return model.to(device).eval()


def restore_file(
    job: Job, output: Path, apply: Callable[[Tensor, Callable[[str], None]], Tensor], say: Callable[[str], None]
) -> tuple[int, int]:
    """Reads, restores and writes one picture.

    Args:
        job: What to read and where to write.
        output: Folder (or the one file) beyond which nothing may be written.
        apply: Maps `(1, 3, H, W)` in [0, 1] to the restored images.
        say: Prints a line.

    Returns:
        Height and width in pixels.

    Raises:
        UserError: Any of it failed; the text begins with the file.
    """
    picture = images.read(job.source)
    try:
        x = torch.from_numpy(picture.rgb).permute(2, 0, 1)[None]
        restored = apply(x, lambda text: say(f"{job.source}: {text}"))
    except (RuntimeError, ValueError) as error:  # e.g. a foreign model that wants a certain size
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{job.source}: the model failed: {reason}") from error
    rgb = restored[0].permute(1, 2, 0).float().numpy()
    if rgb.shape != picture.rgb.shape:
        raise UserError(f"{job.source}: the model returned shape {rgb.shape} for {picture.rgb.shape}")
    if not np.isfinite(rgb).all():
        raise UserError(f"{job.source}: the model returned values that are not finite")
    folder = job.target.parent
    root = output.parent if job.by_suffix else output
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{job.source}: {folder} leads out of {root}; nothing is written there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    images.write(job.target, dataclasses.replace(picture, rgb=rgb), None if job.by_suffix else picture.format)
    return picture.size


@torch.inference_mode()
def restore_images(
    model: nn.Module,
    x: Tensor,
    tile: int | None,
    overlap: int,
    labels: Tensor | None = None,
    say: Callable[[str], None] = print,
) -> Tensor:
    """Restore images, whole or in tiles; where memory does not suffice, in smaller and smaller tiles.

    Args:
        model: `model(x)` or `model(x, labels)` returns a tensor of the shape of `x`.
        x: Images `(B, 3, H, W)` in [0, 1] on the CPU.
        tile: Side of a tile in pixels; None for the whole image at once.
        overlap: Least overlap of neighbouring tiles in pixels.
        labels: Degradation labels `(B,)` for a model that wants them.
        say: Prints a line; called when memory ran out.

    Returns:
        Restored images, shape, dtype and device of `x`.

    Raises:
        RuntimeError: Not even the smallest tile fits, or the model failed otherwise.
    """
    longest = max(x.shape[-2:])
    side = longest if tile is None else min(tile, longest)

    def smaller(failed: int, side: int, overlap: int) -> None:
        say(f"out of memory with {failed} pixels at once; going on with restore.tile={side} restore.overlap={overlap}")

    return restore_within_memory(model, x, side, overlap, labels, smaller)[0]


def label_index(model: nn.Module, degradation: str | int | None) -> int | None:
    """Return the label that a model trained with `router=oracle` is to be told.

    Args:
        model: Its attribute `labels`, if it has one, names the degradations in order.
        degradation: Name or position of the degradation; None for models that need none.

    Raises:
        UserError: The model needs one and none is given, or it is unknown.
    """
    names = list(getattr(model, "labels", None) or [])
    known = f"one of {', '.join(names)}" if names else "its position in the mix that the model was trained on"
    if degradation is None:
        if any(isinstance(module, Oracle) for module in model.modules()):
            raise UserError(f"restore.degradation: a model with router=oracle must be told the degradation: {known}")
        return None
    if degradation in names:
        return names.index(degradation)
    if str(degradation).isdigit() and (not names or int(degradation) < len(names)):
        return int(degradation)
    raise UserError(f"restore.degradation: '{degradation}' is unknown; must be {known}")


def find_jobs(source: Path, output: Path) -> tuple[list[Job], list[Path]]:
    """Return pairs every picture to read with the file to write.

    Args:
        source: A file, or a folder that is searched with its sub-folders (symbolic links to folders are not followed).
        output: A folder; or, for a single file, a file name with an image suffix.

    Returns:
        The jobs, folder by folder in the order of their names, and the files of the folder that are no pictures.

    Raises:
        UserError: There is nothing to restore, or a result would overwrite an input.
    """
    skipped: list[Path] = []
    if source.is_file():
        to_file = images.is_image_name(output) and not output.is_dir()
        jobs = [Job(source, output if to_file else output / source.name, by_suffix=to_file)]
    elif source.is_dir():
        jobs, skipped = _search(source, output)
    else:
        raise UserError(f"input: {source}: no such file or folder")
    if source.is_file() and not jobs[0].by_suffix and images.is_foreign_name(output):
        raise UserError(f"output: {output}: of no kind that is written here ({' '.join(images.SUFFIXES)})")
    if not jobs:
        raise UserError(f"input: {source}: holds no pictures ({' '.join(images.SUFFIXES)})")
    if output.exists() and not output.is_dir() and not jobs[0].by_suffix:
        raise UserError(f"output: {output}: is a file, but a folder is needed")
    inputs = {_identity(job.source): job.source for job in jobs}
    for job in jobs:
        if job.target.exists() and _identity(job.target) in inputs:
            overwritten = inputs[_identity(job.target)]
            raise UserError(f"output: {job.target} would overwrite the input {overwritten}; choose another output")
    return jobs, skipped


def _search(source: Path, output: Path) -> tuple[list[Job], list[Path]]:
    jobs, skipped = [], []
    nested = output.resolve() != source.resolve()  # earlier results in a folder below the input are no input
    for folder, subfolders, names in os.walk(source):
        here = Path(folder)
        subfolders[:] = sorted(
            name for name in subfolders
            if not name.startswith(".") and not (nested and (here / name).resolve() == output.resolve())
        )  # fmt: skip
        for name in sorted(names):
            if images.is_image_name(name) and not name.startswith("."):
                jobs.append(Job(here / name, output / here.relative_to(source) / name))
            else:
                skipped.append(here / name)
    return jobs, skipped


def _identity(path: Path) -> tuple[int, int] | Path:
    """Return what tells files apart whatever they are called; the path itself where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino

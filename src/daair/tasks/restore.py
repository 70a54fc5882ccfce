"""`task=restore`: read image files and write restored images of the same size and kind.

`daair.data.images` defines "the same kind". A folder is searched with its sub-folders, and the output has the same
structure; a folder that a pattern such as `DIR/*` finds has its own below the output. Linked folders are followed, but
no folder is searched twice. Hidden files, files without the suffix of an image, and pictures of formats that cannot be
read here are skipped and named. A file that cannot be restored and a folder that cannot be listed are named, and the
others are still restored.
"""

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from daair import checkpoint
from daair.config.jobs import Job
from daair.data import images
from daair.data.listing import describe_foreign, first_names
from daair.engine.devices import resolve_device
from daair.engine.inference import Restorer, load_model
from daair.engine.memory import free_bytes
from daair.engine.progress import Reporter
from daair.engine.restore import label_index
from daair.errors import UserError, one_line, reason

BYTES = 32
"""Bytes of main memory per pixel that reading, restoring in tiles and writing an image take."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file to restore.

    Attributes:
        source: The file to read.
        target: The file to write.
        by_suffix: Whether the suffix of `target` decides the format; otherwise it is the format of `source`.
    """

    source: Path
    target: Path
    by_suffix: bool = False


def restore(job: Job) -> int:
    """Restore `job.config.input` into `job.config.output` with the network of `job.config.checkpoint`.

    Without one it is `daair_tiny`, which comes along.

    Returns:
        Exit status: 0, or 1 if a file could not be restored.

    Raises:
        UserError: Nothing was started, because there is no input or a result would overwrite an input, for example; or
            the one picture that was named could not be restored.
    """
    cfg = job.config
    output, reporter = Path(cfg.output), Reporter()
    pictures, skipped, closed = find_pictures(cfg.input, output)
    if cfg.checkpoint is None:
        network = checkpoint.load(checkpoint.DEFAULT)
        known = ", ".join(network.labels)
        reporter.say(f"no checkpoint=... is given: restoring with {checkpoint.DEFAULT}, which comes along ({known})")
    else:
        network = load_model(cfg, reporter.say)
    label = label_index(network, cfg.restore.degradation, "restore.degradation")
    restorer = Restorer(network, resolve_device(cfg.device), cfg.restore.tile, cfg.restore.overlap, reporter.say)
    failed, unchanged, left_out = [], [], Counter()
    for folder, why in closed.items():
        reporter.say(f"not restored: {folder}: cannot be listed ({why})")
    with images.any_size(), reporter.progress("restoring", len(pictures)) as bar:
        for picture in pictures:
            try:
                check_size(picture.source, cfg.restore.max_megapixels)
                kinds, changed = restore_file(picture, output, restorer, label)
                left_out.update(kinds)
                unchanged += [] if changed else [picture.source]
            except Exception as error:  # whatever one picture raises, the others are restored
                told = one_line(error if isinstance(error, UserError) else f"{picture.source}: {reason(error)}")
                if str(picture.source) == cfg.input:
                    raise UserError(told) from error
                reporter.say(f"not restored: {told}")
                failed.append(str(picture.source))
            bar.advance(picture.source.name, images=1)
    tell_skipped(skipped)
    if left_out:
        counts = (f"{kind} ({count} {'picture' if count == 1 else 'pictures'})" for kind, count in left_out.items())
        print(f"metadata left out: {', '.join(counts)}")
    if unchanged:
        print(f"unchanged by the network ({len(unchanged)} of {len(pictures)}): {first_names(unchanged)}")
    if failed or closed:
        print(f"not restored ({len(failed) + len(closed)}, reasons above):", *failed, *closed, sep="\n  ")
    where, count = pictures[0].target if pictures[0].by_suffix else output, len(pictures)
    print(f"restored {count - len(failed)} of {count} {'picture' if count == 1 else 'pictures'}: {where}")
    return 1 if failed or closed else 0


def tell_skipped(skipped: Sequence[Path]) -> None:
    """Print which files were skipped: pictures that cannot be read here, and files that are no pictures."""
    if foreign := [path for path in skipped if images.is_foreign_name(path)]:
        print(f"skipped {describe_foreign(foreign)}")
    if others := [path for path in skipped if path not in foreign]:
        what = "file that is not a picture" if len(others) == 1 else "files that are not pictures"
        print(f"skipped {len(others)} {what}: {first_names(others)}")


def check_size(path: Path, most: float) -> None:
    """Check that an image may be opened and fits into the main memory.

    Args:
        path: The image file.
        most: Largest number of megapixels.

    Raises:
        UserError: The file is no image, or is larger than that.
    """
    width, height = images.size(path)
    what, needed, free = f"{path}: {width}x{height} pixels", BYTES * width * height, free_bytes(torch.device("cpu"))
    if width * height > most * 1e6:
        raise UserError(f"{what} are more than restore.max_megapixels={most:g}; raise it if you trust the file")
    if needed > free:
        raise UserError(f"{what} need {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free")


def restore_file(picture: Picture, output: Path, restorer: Restorer, label: int | None) -> tuple[list[str], bool]:
    """Read, restore and write one image; nothing is written outside of `output`.

    Returns:
        The kinds of metadata that were left out; and whether a sample of the image has changed, rounded to its own
        bits. A network that knows clean images leaves most of them as they are.

    Raises:
        UserError: Reading, restoring or writing failed; the message begins with the file.
    """
    read = images.read(picture.source)
    restored, tile = restorer(torch.from_numpy(read.rgb).permute(2, 0, 1)[None], label, str(picture.source))
    if tile and restorer.auto and restorer.say:
        restorer.say(f"{picture.source}: restored in tiles of {tile} pixels, for which the free memory suffices")
    folder = picture.target.parent
    root = output.parent if picture.by_suffix else output
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{picture.source}: {folder} is outside of {root}; nothing is written there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    written = dataclasses.replace(read, rgb=restored[0].permute(1, 2, 0).numpy())
    half_a_step = 0.5 / (2**read.bits - 1)
    rows = zip(written.rgb, read.rgb, strict=True)  # a picture may be too large for a second copy
    changed = any(np.abs(new.clip(0, 1) - old).max() > half_a_step for new, old in rows)
    return images.write(picture.target, written, None if picture.by_suffix else read.format), changed


def find_pictures(source: str | Sequence[str], output: Path) -> tuple[list[Picture], list[Path], dict[str, str]]:
    """Return the image files to restore, with the files to write.

    Args:
        source: A file, a folder to search with its sub-folders, a pattern such as `DIR/*.png`, or several of them.
        output: A folder; or, for a single file, a file name with an image suffix.

    Returns:
        The image files, folder by folder in the order of their names; the files that are not images; and the folders
        that cannot be listed, with the reasons.

    Raises:
        UserError: There is nothing to restore, or a result would overwrite an input or another result.
    """
    places = [place for one in ([source] if isinstance(source, str) else source) for place in _places(one, output)]
    pictures: list[Picture] = []
    skipped: list[Path] = []
    closed: dict[str, str] = {}
    for place, named in places:
        if place.is_dir():
            found, others = _search(place, output, output if named else output / place.name, closed)
            pictures, skipped = pictures + found, skipped + others
        elif not named and not images.is_image_name(place.name):
            skipped.append(place)
        elif len(places) > 1:
            pictures.append(Picture(place, output / _written(place.name)))
        else:
            to_file = output.suffix.lower() in images.WRITTEN and not output.is_dir()
            pictures.append(Picture(place, output if to_file else output / _written(place.name), by_suffix=to_file))
            if not (to_file or output.is_dir()) and images.names_format(output):
                raise UserError(f"output: {output}: cannot write this format, but only {' '.join(images.WRITTEN)}")
    if not pictures:
        for folder, why in closed.items():
            raise UserError(f"input: {folder}: cannot be listed ({why})")
        names = ", ".join(str(place) for place, _ in places)
        raise UserError(f"input: {names}: holds no pictures ({' '.join(images.SUFFIXES)})")
    if not (output.exists() or pictures[0].by_suffix) and output.suffix.lower() in images.WRITTEN:
        raise UserError(
            f"output: {output}: is named like one picture, but the input is a folder or several; name a folder"
        )
    if output.exists() and not output.is_dir() and not pictures[0].by_suffix:
        raise UserError(f"output: {output}: is a file, but a folder is needed")
    _refuse_overwriting(pictures)
    return pictures, skipped, closed


def _places(source: str, output: Path) -> list[tuple[Path, bool]]:
    """Return the file or folder of this name, or else those that a pattern such as `DIR/*.png` finds beside the output.

    The second value is whether it was named.
    """
    if os.path.exists(source):
        return [(Path(source), True)]
    if not (found := sorted(map(Path, glob.glob(source, recursive=True)))):
        raise UserError(f"input: {source}: no such file or folder")
    return [(place, False) for place in found if place.resolve() != output.resolve()]


def _refuse_overwriting(pictures: Sequence[Picture]) -> None:
    inputs = {_identity(picture.source): picture.source for picture in pictures}
    targets: dict[Path, Path] = {}
    for picture in pictures:
        if picture.target.exists() and _identity(picture.target) in inputs:
            overwritten = inputs[_identity(picture.target)]
            raise UserError(f"output: {picture.target} would overwrite the input {overwritten}; choose another output")
        if (first := targets.setdefault(picture.target, picture.source)) != picture.source:
            raise UserError(f"input: {first} and {picture.source} would both be written to {picture.target}")


def _search(source: Path, output: Path, into: Path, closed: dict[str, str]) -> tuple[list[Picture], list[Path]]:
    """Return the pictures below `source` with files below `into`, and the other files; add what cannot be listed."""
    pictures, skipped = [], []

    def note(error: OSError) -> None:
        closed[str(error.filename)] = error.strerror

    entered = {source.resolve()}
    if output.resolve() not in entered:
        entered.add(output.resolve())  # earlier results in a folder below the input are skipped
    for folder, subfolders, names in os.walk(source, onerror=note, followlinks=True):
        here = Path(folder)
        found, subfolders[:] = sorted(subfolders), []
        for name in found:
            if not name.startswith(".") and (real := (here / name).resolve()) not in entered:
                entered.add(real)
                subfolders.append(name)
        for name in sorted(names):
            if images.is_image_name(name) and not name.startswith("."):
                pictures.append(Picture(here / name, into / here.relative_to(source) / _written(name)))
            else:
                skipped.append(here / name)
    return pictures, skipped


def _written(name: str) -> str:
    """Return the name of the file to write for a picture of this name, which differs for formats only read."""
    path = Path(name)
    return name if path.suffix.lower() in images.WRITTEN or not images.is_image_name(name) else f"{path.stem}.png"


def _identity(path: Path) -> tuple[int, int] | Path:
    """Return the identity of a file under any of its names; the path itself if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino

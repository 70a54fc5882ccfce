"""The check of images before training, which refuses or leaves out the unusable ones."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from daair.data.decoded import Decoded, cost_per_byte
from daair.data.images import remedy, size
from daair.data.listing import foreign_beside
from daair.data.sources import PathOrImage
from daair.data.task_images import TaskImages
from daair.errors import UserError

SKIP = "or leave out what cannot be used with on_bad_file=skip"


class Screen:
    """A check of the images of tasks before training.

    Args:
        decoded: Cache that reads the images.
        skip: Whether to leave out unusable files instead of raising an error.

    Attributes:
        skipped: The reason for leaving out a file, by file.
    """

    def __init__(self, decoded: Decoded, skip: bool) -> None:
        self.decoded, self.skip = decoded, skip
        self.skipped: dict[Path, str] = {}

    def decode(
        self, tasks: Iterable[tuple[TaskImages, float]], progress: Callable[[str, int], Any] | None = None
    ) -> None:
        """Decode the files of tasks, clean and degraded ones separately, so that tasks share equal lists.

        Generated images are drawn as well, so that loader workers which are forked afterwards share them.

        The cache may not hold all of them. It is offered those first that would cost most to decode again and again.

        Args:
            tasks: The images of each task, and how often each of them is used in an epoch.
            progress: See `Mix.prepare`.
        """
        lists: Counter[tuple[Path, ...]] = Counter()
        for images, visits in tasks:
            for side in zip(*images.pictures, strict=True):
                files = tuple(dict.fromkeys(picture for picture in side if isinstance(picture, Path)))
                lists[files] += visits * cost_per_byte(files)
                for picture in side:
                    if not isinstance(picture, Path):
                        self.decoded.read(picture)
        with progress("decode", sum(map(len, lists))) if progress is not None else contextlib.nullcontext() as bar:
            for files, _ in lists.most_common():
                self.decoded.fill(files, *([] if bar is None else [bar.advance]))

    def look_ahead(self, images: TaskImages, argument: str, patch: int) -> None:
        """Refuse the images of a task whose first clean one is smaller than `patch`, before any is decoded.

        Raises:
            UserError: It is, and unusable images are not left out.
        """
        first = images.pictures[0][0]
        try:
            height, width = size(first)[::-1] if isinstance(first, Path) else first.shape[:2]
        except UserError:  # told when all are decoded, with the number of others
            return
        if min(height, width) < patch and not self.skip:
            where = f"larger than the image {images.names[0]} ({width}x{height})"
            raise UserError(f"{argument}: {patch} is {where}; give at most {min(height, width)}, {SKIP}")

    def usable(self, images: TaskImages, argument: str, patch: int) -> TaskImages:
        """Return the usable images of a task.

        Args:
            images: Images, whose files `decode` has read.
            argument: Name of the key that sets `patch`, for messages.
            patch: Height and width of the crops in pixels.

        Raises:
            UserError: An image is unusable and `skip` is False, or all images are unusable.
        """
        kept, small = [], []
        for position, pictures in enumerate(images.pictures):
            fault = self._fault(pictures)
            if fault is not None:
                self._refuse(*fault)
            elif min(self.decoded.shape(pictures[0])) < patch:
                small.append(position)
            else:
                kept.append(position)
        if small:
            self._refuse_small(images, small, argument, patch, any_left=bool(kept))
        if not kept:
            first = next((f"{file}: {why}" for file, why in self.skipped.items()), "there are none")
            raise UserError(f"{images.origin}: none of {len(images)} images can be used ({first})")
        return images if len(kept) == len(images) else images.keep(kept)

    def note_foreign(self, tasks: Sequence[TaskImages]) -> None:
        """Note the files beside those of tasks that are images of formats that cannot be read here."""
        files = (picture for images in tasks for pictures in images.pictures for picture in pictures)
        for file in foreign_beside(picture for picture in files if isinstance(picture, Path)):
            self.skipped[file] = f"its format cannot be read{remedy([file])}"

    def refuse_lone(self, files: Sequence[Path], explain: Callable[[], str]) -> None:
        """Leave out inputs without a target, or raise a UserError with the text of `explain`."""
        if not self.skip:
            raise UserError(f"{explain()}, {SKIP}")
        self.skipped |= dict.fromkeys(files, "it has no clean image")

    def _fault(self, pictures: tuple[PathOrImage, ...]) -> tuple[Path, str] | None:
        """Return the first unusable file of an image and the reason; None if the files are usable."""
        for picture in pictures:
            if isinstance(picture, Path) and picture in self.decoded.errors:
                return picture, self.decoded.errors[picture]
        if len(pictures) == 2:
            clean, degraded = (self.decoded.shape(picture) for picture in pictures)
            if clean != degraded:
                sizes = f"{degraded[1]}x{degraded[0]} pixels, but its clean image {pictures[0]} {clean[1]}x{clean[0]}"
                return pictures[1], f"{sizes}; replace or remove the pair"
        return None

    def _refuse(self, file: Path, why: str) -> None:
        if not self.skip:
            others = len(self.decoded.errors) - 1 if file in self.decoded.errors else 0
            more = f" ({others} more files cannot be read)" if others else ""
            raise UserError(f"{file}: {why}, {SKIP}{more}")
        self.skipped[file] = why

    def _refuse_small(
        self, images: TaskImages, small: Sequence[int], argument: str, patch: int, any_left: bool
    ) -> None:
        names, pictures = images.names, [clean for clean, *_ in images.pictures]
        if not self.skip or not any_left:
            smallest = min(small, key=lambda i: min(self.decoded.shape(pictures[i])))
            height, width = self.decoded.shape(pictures[smallest])
            which = "validation" if argument == "val_patch" else "training"
            raise UserError(
                f"{argument}: {patch} is larger than the smallest {which} image ({names[smallest]}, {width}x{height}); "
                f"the largest patch that fits is {min(height, width)}" + (f"; {SKIP}" if any_left else "")
            )
        for position in small:
            height, width = self.decoded.shape(pictures[position])
            file = pictures[position] if isinstance(pictures[position], Path) else Path(names[position])
            self.skipped[file] = f"{width}x{height} pixels, less than {argument}={patch}"

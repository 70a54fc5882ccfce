"""A mix's tasks: what one degradation is trained on, pairs of files or clean images that are degraded on the fly."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from daair.data.decoded import Decoded
from daair.data.pairing import Pair
from daair.data.sources import Image, Named, Picture
from daair.errors import UserError

Degradation = Callable[[Image, np.random.Generator], Image]
Window = Callable[[Sequence[Image]], Sequence[Image]]


class Task(Protocol):
    """One degradation and its images; a sample is drawn from image `which` of `len(task)`."""

    source: str
    """`paired` or `synthetic`."""
    origin: str
    """Where the images are from, in words."""

    def __len__(self) -> int: ...

    def names(self) -> list[str]:
        """Return names of the images."""
        ...

    def pictures(self) -> Iterator[tuple[Picture, ...]]:
        """Yield what each image needs: the clean picture, behind it the degraded one if there is one."""
        ...

    def keep(self, positions: Sequence[int]) -> "Task":
        """Return the task with these images alone."""
        ...

    def draw(self, which: int, decoded: Decoded, window: Window, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return a degraded crop and its clean one, uint8, (H, W, 3); `window` cuts images of one size alike."""
        ...


@dataclass(frozen=True)
class Synthetic:
    """Clean images, degraded on the fly.

    Attributes:
        degrade: What is done to them.
        images: The images by name.
        origin: Where they are from.
    """

    degrade: Degradation
    images: Named
    origin: str
    source = "synthetic"

    def __len__(self) -> int:
        return len(self.images)

    def names(self) -> list[str]:
        """Return names of the images."""
        return [name for name, _ in self.images]

    def pictures(self) -> Iterator[tuple[Picture, ...]]:
        """Yield the clean pictures."""
        return ((picture,) for _, picture in self.images)

    def keep(self, positions: Sequence[int]) -> "Synthetic":
        """Return the task with these images alone."""
        return Synthetic(self.degrade, [self.images[i] for i in positions], self.origin)

    def draw(self, which: int, decoded: Decoded, window: Window, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return a degraded crop and its clean one.

        The crop is degraded, not the photograph, which would take ten times as long; and it is turned before, so that
        rain falls down and haze thickens upwards in every sample, as in test images.
        """
        (clean,) = window([decoded.read(self.images[which][1])])
        return self.degrade(clean, rng), clean


@dataclass(frozen=True)
class Paired:
    """Pairs of a degraded and a clean file.

    Attributes:
        pairs: The files by name.
        origin: Where they are from.
        left_over: Clean files that no pair has.
    """

    pairs: list[Pair]
    origin: str
    left_over: tuple[Path, ...] = ()
    source = "paired"

    def __len__(self) -> int:
        return len(self.pairs)

    def names(self) -> list[str]:
        """Return names of the pairs."""
        return [pair.name for pair in self.pairs]

    def pictures(self) -> Iterator[tuple[Picture, ...]]:
        """Yield the clean and the degraded file of each pair."""
        return ((pair.target, pair.input) for pair in self.pairs)

    def keep(self, positions: Sequence[int]) -> "Paired":
        """Return the task with these pairs alone."""
        return Paired([self.pairs[i] for i in positions], self.origin, self.left_over)

    def draw(self, which: int, decoded: Decoded, window: Window, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return the same crop of both files."""
        pair = self.pairs[which]
        clean, degraded = window([decoded.read(pair.target), decoded.read(pair.input)])
        return degraded, clean


def crop(images: Sequence[Image], *, size: int, rng: np.random.Generator, augment: bool = False) -> list[Image]:
    """Cut the same (size, size, 3) window out of images of one size, at a random position.

    Args:
        images: uint8, (H, W, 3) each.
        size: Height and width of the window.
        rng: Source of all randomness.
        augment: Turn and flip all of them by one of the 8 symmetries of the square.
    """
    height, width = images[0].shape[:2]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    windows = [image[top : top + size, left : left + size] for image in images]
    if augment:
        pose = int(rng.integers(8))
        windows = [turn(window, pose) for window in windows]
    return windows


def turn(image: Image, pose: int) -> Image:
    """Apply one of the 8 symmetries of the square: `pose % 4` quarter turns, mirrored from 4 on."""
    if pose % 4:
        image = cv2.rotate(image, _QUARTERS[pose % 4])
    return cv2.flip(image, 1) if pose >= 4 else image


_QUARTERS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def hold_out(task: Paired, part: float, key: str) -> tuple[Paired, Paired]:
    """Split pairs into those to train on and those to validate on; all pairs of a clean image go the same way.

    Args:
        task: The pairs.
        part: Part of the clean images to hold out, in (0, 1); at least one is held out, and one is left.
        key: Config key of the pairs, for messages.

    Raises:
        UserError: There is but one clean image.
    """
    targets = list(dict.fromkeys(pair.target for pair in task.pairs))
    if len(targets) < 2:
        raise UserError(f"{key}: {targets[0]} is the only clean image; two are needed, one of them to validate on")
    count = min(max(1, round(part * len(targets))), len(targets) - 1)
    ranked = sorted(targets, key=lambda file: hashlib.blake2b(file.name.encode(), digest_size=8).digest())
    chosen = set(ranked[:count])
    held = [pair.target in chosen for pair in task.pairs]
    return task.keep([i for i, out in enumerate(held) if not out]), task.keep([i for i, out in enumerate(held) if out])

"""The images of one task as they lie on this disk: pairs of files, or clean images that are degraded on the fly."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from daair.data.decoded import Decoded
from daair.data.degradations import Degradation, Image
from daair.data.sources import PathOrImage
from daair.errors import UserError

Crop = Callable[[Sequence[Image]], Sequence[Image]]
"""Cuts the same window out of images of one size."""


@dataclass(frozen=True)
class TaskImages:
    """What one task is trained or validated on.

    Attributes:
        names: Names of the images.
        pictures: What each image needs: the clean picture, and for pairs the degraded one behind it.
        origin: Where the images are from, in words.
        degrade: What is done to the clean pictures; None for pairs.
    """

    names: Sequence[str]
    pictures: Sequence[tuple[PathOrImage, ...]]
    origin: str
    degrade: Degradation | None = None

    @property
    def source(self) -> str:
        """`paired` or `synthetic`."""
        return "paired" if self.degrade is None else "synthetic"

    def __len__(self) -> int:
        return len(self.names)

    def keep(self, positions: Sequence[int]) -> "TaskImages":
        """Return these images alone."""
        names, pictures = [self.names[i] for i in positions], [self.pictures[i] for i in positions]
        return replace(self, names=names, pictures=pictures)

    def draw(self, which: int, decoded: Decoded, crop: Crop, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return a degraded crop of an image and the clean one, uint8, (H, W, 3).

        What is made is made of the crop and not of the photograph, which would take ten times as long. The crop is
        turned before, so that rain falls down and haze thickens upwards in every sample, as in test images.
        """
        clean, *degraded = crop([decoded.read(picture) for picture in self.pictures[which]])
        return (degraded[0] if self.degrade is None else self.degrade(clean, rng)), clean


def hold_out(images: TaskImages, part: float) -> tuple[TaskImages, TaskImages]:
    """Split pairs into those to train on and those to validate on; all pairs of a clean image go the same way.

    Args:
        images: Pairs of files.
        part: Part of the clean images to hold out, in (0, 1); at least one is held out, and one is left.

    Raises:
        UserError: There is but one clean image.
    """
    targets = [target for target, _ in images.pictures]
    different = list(dict.fromkeys(targets))
    if len(different) < 2:
        raise UserError(f"{targets[0]} is the only clean image; two are needed, one of them to validate on")
    count = min(max(1, round(part * len(different))), len(different) - 1)
    ranked = sorted(different, key=lambda file: hashlib.blake2b(file.name.encode(), digest_size=8).digest())
    held_out = set(ranked[:count])
    train = [i for i, target in enumerate(targets) if target not in held_out]
    val = [i for i, target in enumerate(targets) if target in held_out]
    return images.keep(train), images.keep(val)

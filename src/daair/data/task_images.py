"""The images of one task: pairs of files, or clean images that are degraded on the fly."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from daair.data.decoded import Decoded
from daair.data.degradations import Degradation, degraded
from daair.data.sources import PathOrImage
from daair.errors import UserError
from daair.pixels import Image

Crop = Callable[[Sequence[Image]], Sequence[Image]]
"""A function that crops the same window from images of one size."""


@dataclass(frozen=True)
class TaskImages:
    """The training or validation images of one task.

    Attributes:
        names: Names of the images.
        pictures: The clean picture of each image, followed by the degraded one for pairs.
        origin: Description of the source of the images, for messages.
        degrade: Degradation of the clean pictures; None for pairs.
    """

    names: Sequence[str]
    pictures: Sequence[tuple[PathOrImage, ...]]
    origin: str
    degrade: Degradation | None = None

    @property
    def source(self) -> str:
        """The kind of the images, `paired` or `synthetic`."""
        return "paired" if self.degrade is None else "synthetic"

    def __len__(self) -> int:
        return len(self.names)

    def keep(self, positions: Sequence[int]) -> "TaskImages":
        """Return the images at the given positions."""
        names, pictures = [self.names[i] for i in positions], [self.pictures[i] for i in positions]
        return replace(self, names=names, pictures=pictures)

    def draw(self, which: int, decoded: Decoded, crop: Crop, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return the degraded and the clean crop of an image, uint8 or float32, (H, W, 3).

        Synthetic degradations are applied to the crop, because degrading the whole photograph takes ten times as long.
        The crop has been flipped and rotated before, so rain falls down and haze grows upwards in every sample, as in
        test images.
        """
        clean, *stored = crop([decoded.read(picture) for picture in self.pictures[which]])
        return (stored[0] if self.degrade is None else degraded(clean, self.degrade, rng)), clean


def hold_out(images: TaskImages, part: float) -> tuple[TaskImages, TaskImages]:
    """Split pairs into training and validation pairs; all pairs of a clean image get into the same part.

    The split depends on the names of the clean images alone.

    Args:
        images: Pairs of files.
        part: Fraction of the clean images to hold out, in (0, 1). At least one is held out, and at least one remains.

    Raises:
        UserError: There are fewer than two clean images.
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

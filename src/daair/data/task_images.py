"""The images of one task: pairs of files, or clean images that are degraded on the fly."""

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

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

    @property
    def bytes(self) -> int:
        """The size of all files, which differs between data of the same names and image sizes."""
        total = 0
        for file in (file for pictures in self.pictures for file in pictures if isinstance(file, Path)):
            with suppress(OSError):  # one that has gone away is missed when it is read
                total += file.stat().st_size
        return total

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


def hold_out(images: TaskImages, part: float, scene: str | None = None) -> tuple[TaskImages, TaskImages]:
    """Split pairs into training and validation pairs; all pairs of a scene get into the same part.

    The split depends on the names of the clean images alone.

    Args:
        images: Pairs of files.
        part: Fraction of the scenes to hold out, in (0, 1). At least one is held out, and at least one remains.
        scene: Regular expression that is searched in the last three parts of a clean image's path, and whose first
            group is the scene; None, and where it is not found: each clean image shows a scene of its own.

    Raises:
        UserError: There are fewer than two scenes.
    """
    targets = [target for target, _ in images.pictures]
    found = [scene and re.search(scene, "/".join(target.parts[-3:])) for target in targets]
    scenes = [match[1] if match else target for match, target in zip(found, targets, strict=True)]
    different = list(dict.fromkeys(scenes))
    if len(different) < 2:
        raise UserError(f"{targets[0]} shows the only scene; two are needed, one of them to validate on")
    count = min(max(1, round(part * len(different))), len(different) - 1)
    # By the file's name and not its folder, so that data sets with the same clean images hold out the same ones.
    ranked = sorted(different, key=lambda one: hashlib.blake2b(Path(one).name.encode(), digest_size=8).digest())
    held_out = set(ranked[:count])
    train = [i for i, one in enumerate(scenes) if one not in held_out]
    val = [i for i, one in enumerate(scenes) if one in held_out]
    return images.keep(train), images.keep(val)

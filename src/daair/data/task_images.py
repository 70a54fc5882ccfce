"""The images of one task as they lie on this disk: pairs of files, or clean images that are degraded on the fly."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from daair.data.decoded import Decoded
from daair.data.degradations import Degradation, Image
from daair.data.pairing import Pair
from daair.data.sources import NamedImages, PathOrImage
from daair.errors import UserError

Crop = Callable[[Sequence[Image]], Sequence[Image]]
"""Cuts the same window out of images of one size."""


class TaskImages(Protocol):
    """What the loader asks of a task's images; they are numbered from 0."""

    source: str
    """`paired` or `synthetic`."""
    origin: str
    """Where the images are from, in words."""

    def __len__(self) -> int: ...

    def names(self) -> list[str]:
        """Return the images' names."""
        ...

    def pictures(self) -> Iterator[tuple[PathOrImage, ...]]:
        """Yield what each image needs: the clean picture, and the degraded one if there is one."""
        ...

    def keep(self, positions: Sequence[int]) -> "TaskImages":
        """Return these images alone."""
        ...

    def draw(self, which: int, decoded: Decoded, crop: Crop, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return a degraded crop of an image and the clean one, uint8, (H, W, 3)."""
        ...


@dataclass(frozen=True)
class SyntheticImages:
    """Clean images that are degraded on the fly.

    Attributes:
        degrade: What is done to them.
        images: The images by name.
        origin: Where they are from.
    """

    degrade: Degradation
    images: NamedImages
    origin: str
    source = "synthetic"

    def __len__(self) -> int:
        return len(self.images)

    def names(self) -> list[str]:
        """Return the images' names."""
        return [name for name, _ in self.images]

    def pictures(self) -> Iterator[tuple[PathOrImage, ...]]:
        """Yield the clean pictures."""
        return ((picture,) for _, picture in self.images)

    def keep(self, positions: Sequence[int]) -> "SyntheticImages":
        """Return these images alone."""
        return replace(self, images=[self.images[i] for i in positions])

    def draw(self, which: int, decoded: Decoded, crop: Crop, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return a degraded crop and the clean one.

        The crop is degraded and not the photograph, which would take ten times as long. It is turned before, so that
        rain falls down and haze thickens upwards in every sample, as in test images.
        """
        (clean,) = crop([decoded.read(self.images[which][1])])
        return self.degrade(clean, rng), clean


@dataclass(frozen=True)
class PairedImages:
    """Pairs of a degraded and a clean file.

    Attributes:
        pairs: The files by name.
        origin: Where they are from.
    """

    pairs: list[Pair]
    origin: str
    source = "paired"

    def __len__(self) -> int:
        return len(self.pairs)

    def names(self) -> list[str]:
        """Return the pairs' names."""
        return [pair.name for pair in self.pairs]

    def pictures(self) -> Iterator[tuple[PathOrImage, ...]]:
        """Yield the clean and the degraded file of each pair."""
        return ((pair.target, pair.input) for pair in self.pairs)

    def keep(self, positions: Sequence[int]) -> "PairedImages":
        """Return these pairs alone."""
        return replace(self, pairs=[self.pairs[i] for i in positions])

    def draw(self, which: int, decoded: Decoded, crop: Crop, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return the same crop of both files."""
        pair = self.pairs[which]
        clean, degraded = crop([decoded.read(pair.target), decoded.read(pair.input)])
        return degraded, clean


def hold_out(images: PairedImages, part: float) -> tuple[PairedImages, PairedImages]:
    """Split pairs into those to train on and those to validate on; all pairs of a clean image go the same way.

    Args:
        images: The pairs.
        part: Part of the clean images to hold out, in (0, 1); at least one is held out, and one is left.

    Raises:
        UserError: There is but one clean image.
    """
    targets = list(dict.fromkeys(pair.target for pair in images.pairs))
    if len(targets) < 2:
        raise UserError(f"{targets[0]} is the only clean image; two are needed, one of them to validate on")
    count = min(max(1, round(part * len(targets))), len(targets) - 1)
    ranked = sorted(targets, key=lambda file: hashlib.blake2b(file.name.encode(), digest_size=8).digest())
    held_out = set(ranked[:count])
    train = [i for i, pair in enumerate(images.pairs) if pair.target not in held_out]
    val = [i for i, pair in enumerate(images.pairs) if pair.target in held_out]
    return images.keep(train), images.keep(val)

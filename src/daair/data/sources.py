"""Sources of clean images.

A source has one method, `pictures(root)`, which returns a list of (name, picture) in a fixed order. A picture is a
file or a generated image, which are read or drawn on demand (see `daair.data.decoded`), or an image in memory. The
construction of a source opens no file.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Interval, MinLen

from daair.data.datasets import likely_folders, locate_dataset
from daair.data.leaves import dead_leaves
from daair.data.listing import list_images
from daair.errors import UserError, suggestion
from daair.pixels import Image


@dataclass(frozen=True)
class Leaves:
    """A generated image, which is drawn where its pixels are first asked for, and then kept by the process.

    Args:
        size: Height and width in pixels.
        seed: Seed of all images of a source.
        number: Position among them.
    """

    size: int
    seed: int
    number: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, 3

    def pixels(self) -> Image:
        """Return the image, uint8; it must not be modified."""
        return _drawn(self)


@cache
def _drawn(image: Leaves) -> Image:
    return dead_leaves(image.size, np.random.default_rng([image.seed, image.number]))


PathOrImage = Path | Image | Leaves
"""A file, an image in memory, or one that is drawn when it is read."""
NamedImages = list[tuple[str, PathOrImage]]


class ImageSource(Protocol):
    """The interface of a source of clean images in a mix."""

    needs_root: bool
    """Whether `pictures` needs a root folder."""

    def pictures(self, root: str | None = None) -> NamedImages:
        """Return all pictures with their names; every call returns the same ones.

        Raises:
            UserError: There are no such pictures, or a folder cannot be listed.
        """
        ...


class Folder:
    """All images of one folder without its subfolders, in natural order.

    Args:
        path: The folder, absolute or relative to the root.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.needs_root = not Path(path).is_absolute()

    def __str__(self) -> str:
        return self.path

    def pictures(self, root: str | None = None) -> NamedImages:
        """List the folder."""
        return [(file.name, file) for file in list_images(Path(root or ".", self.path))]


class CleanSet:
    """The clean images of a known data set, which is looked for under the root in any layout.

    Args:
        name: Name in `daair.data.catalogue.DATASETS`, such as `clean/train`.
        otherwise: Source to use if the data set is not there.
    """

    def __init__(self, name: str, otherwise: ImageSource | None = None) -> None:
        self.name, self.otherwise = name, otherwise
        self.needs_root = otherwise is None

    def __str__(self) -> str:
        return self.name

    def pictures(self, root: str | None = None) -> NamedImages:
        """List the data set."""
        found = None if root is None else locate_dataset(self.name, root)
        if found is not None:
            return found.named_files()
        if self.otherwise is not None:
            return self.otherwise.pictures(root)
        folder, others = likely_folders(self.name, root or "")
        raise UserError(f"root: {folder}: no such folder{others}")


class Photographs:
    """Photographs that are part of the installed scikit-image; nothing is downloaded.

    Args:
        names: File names without suffix, such as `astronaut`.
    """

    needs_root = False

    def __init__(self, names: Annotated[tuple[str, ...], MinLen(1)]) -> None:
        self.names = tuple(names)

    def __str__(self) -> str:
        return "scikit-image"

    def pictures(self, root: str | None = None) -> NamedImages:
        """Find the photographs; `root` is not used."""
        with resources.as_file(resources.files("skimage") / "data") as folder:
            shipped = {file.stem: file for file in list_images(folder)}
        for name in self.names:
            if name not in shipped:
                hint = suggestion(name, shipped)
                raise UserError(f"photographs: scikit-image ships no picture '{name}'{hint}")
        return [(name, shipped[name]) for name in self.names]


class DeadLeaves:
    """Generated images of occluding shapes; see `daair.data.leaves.dead_leaves`.

    Args:
        count: Number of images.
        size: Height and width of each image in pixels.
        seed: Seed of all images; image `i` does not depend on `count`.
    """

    needs_root = False

    def __init__(
        self,
        count: Annotated[int, Ge(1)] = 24,
        size: Annotated[int, Interval(ge=16, le=2048)] = 256,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __str__(self) -> str:
        return "generated"

    def pictures(self, root: str | None = None) -> NamedImages:
        """Return the images, which are not drawn yet; `root` is not used."""
        return [(f"leaves-{i:03d}", Leaves(self.size, self.seed, i)) for i in range(self.count)]

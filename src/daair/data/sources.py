"""Sources: where clean images come from.

A source has one method, `pictures(root) -> list of (name, picture)`, in a fixed order. A picture is a file, read when
it is needed (see `daair.data.decoded`), or an image that the source has drawn. Constructing a source costs nothing
and touches no file.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Interval, MinLen
from numpy.typing import NDArray

from daair.data import datasets, images
from daair.data.leaves import dead_leaves
from daair.data.listing import list_images, nearest
from daair.errors import UserError

Image = NDArray[np.uint8]
"""RGB, (H, W, 3)."""
Picture = Path | Image
"""A file, or an image that is there already."""
Named = list[tuple[str, Picture]]


class Source(Protocol):
    """What a mix asks of a source."""

    needs_root: bool
    """Whether `pictures` cannot do without the folder `mix.root`."""

    def pictures(self, root: str | None = None) -> Named:
        """Return all pictures with their names, the same ones at every call."""
        ...


class Folder:
    """All pictures of one folder (not of its subfolders), in natural order.

    Args:
        path: The folder, relative to `mix.root`; an absolute path stands for itself.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.needs_root = not Path(path).is_absolute()

    def __str__(self) -> str:
        return self.path

    def pictures(self, root: str | None = None) -> Named:
        """List the folder.

        Raises:
            UserError: It is missing, cannot be listed, or holds no picture.
        """
        return [(file.name, file) for file in list_images(Path(root or ".", self.path))]


class CleanSet:
    """The clean images of a data set that is known by name, in whichever layout it lies under `mix.root`.

    Args:
        name: One of `daair.data.catalogue.DATASETS`, such as `clean/train`.
        otherwise: Taken where the data set is not there.
    """

    def __init__(self, name: str, otherwise: Source | None = None) -> None:
        self.name, self.otherwise = name, otherwise
        self.needs_root = otherwise is None

    def __str__(self) -> str:
        return self.name

    def pictures(self, root: str | None = None) -> Named:
        """List the data set.

        Raises:
            UserError: It is not there, a folder cannot be listed, or holds no picture.
        """
        found = None if root is None else datasets.locate(self.name, root)
        if found is not None:
            return found.named_files()
        if self.otherwise is not None:
            return self.otherwise.pictures(root)
        folder, others = datasets.first_place(self.name, root or "")
        raise UserError(f"{folder}: no such folder{others}; check mix.root")


class Photographs:
    """Photographs that are part of scikit-image's wheel; nothing is downloaded.

    Args:
        names: File names without suffix, such as `astronaut`.
    """

    needs_root = False

    def __init__(self, names: Annotated[tuple[str, ...], MinLen(1)]) -> None:
        self.names = tuple(names)

    def __str__(self) -> str:
        return "scikit-image"

    def pictures(self, root: str | None = None) -> Named:
        """Find the photographs; `root` is not used.

        Raises:
            UserError: There is none of that name.
        """
        with resources.as_file(resources.files("skimage") / "data") as folder:
            shipped = {file.stem: file for file in list_images(folder)}
        for name in self.names:
            if name not in shipped:
                hint = nearest(name, shipped)
                raise UserError(f"photographs: scikit-image ships no picture '{name}'{hint and f'; {hint}'}")
        return [(name, shipped[name]) for name in self.names]


class DeadLeaves:
    """Generated pictures of occluding shapes; see `daair.data.leaves.dead_leaves`.

    Args:
        count: Number of pictures.
        size: Height and width of each in pixels.
        seed: Decides all of them; picture `i` is the same whatever `count` is.
    """

    needs_root = False

    def __init__(
        self,
        count: Annotated[int, Ge(1)] = 24,
        size: Annotated[int, Interval(ge=16, le=2048)] = 256,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.count, self.size, self.seed = count, size, seed
        self._drawn: Named = []

    def __str__(self) -> str:
        return "generated"

    def pictures(self, root: str | None = None) -> Named:
        """Draw the pictures, on the first call; `root` is not used."""
        if not self._drawn:
            self._drawn = [
                (f"leaves-{i:03d}", dead_leaves(self.size, np.random.default_rng([self.seed, i])))
                for i in range(self.count)
            ]
        return self._drawn


def read_rgb(path: str | Path) -> Image:
    """Read a picture as uint8 RGB, (H, W, 3). Grey becomes RGB, 16 bits become 8, EXIF rotation is applied.

    Raises:
        UserError: The file cannot be read; the message names it and says what to do.
    """
    try:
        return images.read_rgb(path)
    except UserError as error:
        raise UserError(f"{error}; replace or remove the file") from None

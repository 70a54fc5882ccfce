"""Sources: where clean images come from.

A source has one method, ``load(root) -> list of (name, image)``; images are uint8 RGB, (H, W, 3), in a fixed order.
It reads or draws them on the first call and keeps them, so that a data set decodes every file once. Constructing a
source costs nothing and touches no file.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Interval, MinLen
from numpy.typing import NDArray

from daair import images
from daair.data.leaves import dead_leaves
from daair.data.listing import list_images, nearest
from daair.errors import UserError

Image = NDArray[np.uint8]
Named = list[tuple[str, Image]]


class Source(Protocol):
    """What a mix asks of a source."""

    needs_root: bool
    """Whether ``load`` wants the folder ``mix.root``."""

    def load(self, root: str | None = None) -> Named:
        """Returns all images with their names, the same ones at every call."""
        ...


class Folder:
    """All pictures of one folder (not of its subfolders), in natural order.

    Args:
        path: The folder, relative to ``mix.root``; an absolute path stands for itself.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.needs_root = not Path(path).is_absolute()
        self._cache: dict[Path, Named] = {}

    def load(self, root: str | None = None) -> Named:
        """Reads the folder. Grey pictures become RGB, 16 bits become 8, EXIF rotation is applied."""
        folder = Path(root or ".", self.path)
        if folder not in self._cache:
            self._cache[folder] = [(file.name, read_rgb(file)) for file in list_images(folder)]
        return self._cache[folder]


class Photographs:
    """Photographs that are part of scikit-image's wheel; nothing is downloaded.

    Args:
        names: File names without suffix, such as ``astronaut``.
    """

    needs_root = False

    def __init__(self, names: Annotated[tuple[str, ...], MinLen(1)]) -> None:
        self.names = tuple(names)
        self._cache: Named = []

    def load(self, root: str | None = None) -> Named:
        """Reads the photographs; ``root`` is not used."""
        if not self._cache:
            with resources.as_file(resources.files("skimage") / "data") as folder:
                shipped = {file.stem: file for file in list_images(folder)}
                for name in self.names:
                    if name not in shipped:
                        hint = nearest(name, shipped)
                        raise UserError(f"photographs: scikit-image ships no picture '{name}'{hint and f'; {hint}'}")
                self._cache = [(name, read_rgb(shipped[name])) for name in self.names]
        return self._cache


class DeadLeaves:
    """Generated pictures of occluding shapes; see :func:`daair.data.leaves.dead_leaves`.

    Args:
        count: Number of pictures.
        size: Height and width of each in pixels.
        seed: Decides all of them; picture ``i`` is the same whatever ``count`` is.
    """

    needs_root = False

    def __init__(
        self,
        count: Annotated[int, Ge(1)] = 24,
        size: Annotated[int, Interval(ge=16, le=2048)] = 256,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.count, self.size, self.seed = count, size, seed
        self._cache: Named = []

    def load(self, root: str | None = None) -> Named:
        """Draws the pictures; ``root`` is not used."""
        if not self._cache:
            self._cache = [
                (f"leaves-{i:03d}", dead_leaves(self.size, np.random.default_rng([self.seed, i])))
                for i in range(self.count)
            ]
        return self._cache


def read_rgb(path: str | Path) -> Image:
    """Reads a picture as uint8 RGB, (H, W, 3).

    Raises:
        UserError: The file cannot be read; the message names it and says what to do.
    """
    try:
        picture = images.read(path)
    except UserError as error:
        raise UserError(f"{error}; replace or remove the file") from None
    return np.rint(picture.rgb * np.float32(255)).astype(np.uint8)

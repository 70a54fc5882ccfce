"""Lists of the image files in folders, in natural order, without hidden files and repetitions.

Directories are read with `os.scandir`, so that listing RESIDE's 72,135 files needs no `stat` per file.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from daair.data import images
from daair.errors import UserError
from daair.files import natural_key

THUMBNAILS = frozenset({"@eaDir", "__MACOSX"})
"""Folders in which file servers and archivers put thumbnails; they are skipped, like hidden folders."""


SHOWN = 5
"""Most files of many that are named in a message."""


def list_images(
    folder: str | Path, *, recursive: bool = False, match: Callable[[str], object] | None = None
) -> list[Path]:
    """List the image files of a folder in natural order (2 before 10), subfolder by subfolder.

    Args:
        folder: The folder. Links in it are followed, but no folder is entered twice, so that loops end.
        recursive: Whether to include subfolders.
        match: Function of a file's name; files for which it returns a false value are left out.

    Raises:
        UserError: The folder is missing, is a file, cannot be listed, or holds no image.
    """
    files = sort_naturally(walk(check_folder(folder), recursive=recursive, match=match))
    if not files:
        kinds = " ".join(sorted(suffix.lstrip(".") for suffix in images.SUFFIXES))
        foreign = foreign_beside([Path(folder, "any")])
        but = f" but {describe_foreign(foreign)}" if foreign else ""
        raise UserError(f"{folder}: holds no images{but}; put files of these kinds there: {kinds}")
    return files


def check_folder(folder: str | Path, key: str = "") -> Path:
    """Return the path of a folder.

    Raises:
        UserError: The folder is missing or a file; the message begins with `key`.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{key}{folder}: {'is not a folder' if Path(folder).exists() else 'no such folder'}")
    return Path(folder)


def walk(
    folder: str | Path, *, recursive: bool = False, match: Callable[[str], object] | None = None
) -> Iterator[Path]:
    """Yield a folder's image files in no particular order; see `list_images`.

    Raises:
        UserError: A folder cannot be listed.
    """
    waiting, entered = [str(folder)], set()
    while waiting:
        current = waiting.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if images.is_image_name(entry.name):
                        if (match is None or match(entry.name)) and entry.is_file():
                            yield Path(entry.path)
                    elif recursive and entry.name not in THUMBNAILS and entry.is_dir():
                        waiting.append(entry.path)
        except OSError as error:
            raise UserError(f"{current}: cannot be listed ({error.strerror})") from None


def foreign_beside(files: Iterable[Path]) -> list[Path]:
    """Return the images of formats that cannot be read here from the folders of these files, in natural order."""
    found: list[Path] = []
    for folder in dict.fromkeys(file.parent for file in files):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            seen = (entry for entry in entries if images.is_foreign_name(entry.name) and not entry.name.startswith("."))
            found += [Path(entry.path) for entry in seen if entry.is_file()]
    return sort_naturally(found)


def describe_foreign(files: Sequence[Path]) -> str:
    """Return a phrase that counts and names images of formats that cannot be read here, with a remedy if there is one.

    For example, `2 pictures of formats that cannot be read: a.heic, b.heic; pip install pillow-heif reads .heic .heif`.
    """
    what = "picture of a format" if len(files) == 1 else "pictures of formats"
    return f"{len(files)} {what} that cannot be read: {first_names(files)}{images.remedy(files)}"


def first_names(files: Sequence[Path]) -> str:
    """Return the names of the first `SHOWN` files, and dots if there are more."""
    return ", ".join([*(file.name for file in files[:SHOWN]), *(["..."] if len(files) > SHOWN else [])])


def sort_naturally(files: Iterable[Path]) -> list[Path]:
    """Sort files by the parts of their paths in natural order."""
    return sorted(files, key=lambda file: [natural_key(part) for part in file.parts])


def batches(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Yield files in batches of `size`; the last one may be smaller."""
    for start in range(0, len(files), size):
        yield files[start : start + size]


def short_names(files: Iterable[Path]) -> list[str]:
    """Return a unique name for each file: its own name, preceded by folders if several files share that name.

    For example, `x/a/1.png`, `x/b/1.png` and `x/b/2.png` are named `a/1.png`, `b/1.png` and `2.png`. The names do not
    depend on the order of the files.
    """
    files = list(files)
    names, depth = [file.name for file in files], 1
    while len(set(names)) < len(set(files)) and depth < max(len(file.parts) for file in files):
        depth, times = depth + 1, Counter(names)
        longer = ["/".join(file.parts[-depth:]) for file in files]
        names = [long if times[name] > 1 else name for name, long in zip(names, longer, strict=True)]
    return names

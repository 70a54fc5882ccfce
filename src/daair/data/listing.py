"""Which picture files a folder holds: in natural order, without hidden files, never twice.

Directories are read with `os.scandir`, so that listing RESIDE's 72,135 files takes no look at each of them.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from daair.data import images
from daair.errors import UserError
from daair.files import natural_key

THUMBNAILS = frozenset({"@eaDir", "__MACOSX"})
"""Folders that file servers and archivers fill with small copies; like hidden folders, they are not entered."""


def list_images(
    folder: str | Path, *, recursive: bool = False, match: Callable[[str], object] | None = None
) -> list[Path]:
    """List the picture files of a folder in natural order (2 before 10), subfolder by subfolder.

    Args:
        folder: The folder. Links within are followed, but no folder is entered twice, so that loops end.
        recursive: Look into subfolders as well.
        match: Asked of each file's name; what it says no to is left out.

    Raises:
        UserError: The folder is missing, is a file, cannot be listed, or holds no picture.
    """
    files = sort_naturally(walk(check_folder(folder), recursive=recursive, match=match))
    if not files:
        kinds = " ".join(sorted(suffix.lstrip(".") for suffix in images.SUFFIXES))
        raise UserError(f"{folder}: holds no images; put files of these kinds there: {kinds}")
    return files


def check_folder(folder: str | Path, key: str = "") -> Path:
    """Return the path of a folder, or raise a UserError, which begins with `key`, if it is missing or a file."""
    if not Path(folder).is_dir():
        raise UserError(f"{key}{folder}: {'is not a folder' if Path(folder).exists() else 'no such folder'}")
    return Path(folder)


def walk(
    folder: str | Path, *, recursive: bool = False, match: Callable[[str], object] | None = None
) -> Iterator[Path]:
    """Yield a folder's picture files as they come; see `list_images`.

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


def sort_naturally(files: Iterable[Path]) -> list[Path]:
    """Sort files naturally, part by part of their paths."""
    return sorted(files, key=lambda file: [natural_key(part) for part in file.parts])


def batches(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Yield files in batches of `size`; the last one may be smaller."""
    for start in range(0, len(files), size):
        yield files[start : start + size]


def short_names(files: Iterable[Path]) -> list[str]:
    """Return a name for each file: the file's own, with folders in front where several files share it.

    `a/1.png, b/1.png, b/2.png` are named so, but for `2.png`. Names do not depend on the order.
    """
    files = list(files)
    names, depth = [file.name for file in files], 1
    while len(set(names)) < len(set(files)) and depth < max(len(file.parts) for file in files):
        depth, times = depth + 1, Counter(names)
        longer = ["/".join(file.parts[-depth:]) for file in files]
        names = [long if times[name] > 1 else name for name, long in zip(names, longer, strict=True)]
    return names

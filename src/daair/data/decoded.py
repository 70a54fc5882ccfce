"""Pictures of files, decoded once instead of at every sample.

A list of files is decoded in chunks. A chunk is one file of bare pixels beside a small index, written whole or not at
all and mapped into memory: all processes of a run and all runs of a machine share the system's page cache, which gives
memory back when others need it. Without a folder the chunks stay in the memory of this process, and its forks share it.

A chunk is named by the path, size and time of change of its files, so a changed file is decoded anew. Processes that
start together share the work: each takes a chunk that nobody else is at. Whatever lies beyond the limit is looked at
once, so that a damaged file is found before a training begins, and decoded whenever it is asked for.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from daair.data.degradations import Image
from daair.data.images import in_threads, read_rgb
from daair.data.listing import batches
from daair.data.sources import PathOrImage
from daair.errors import UserError
from daair.files import replacing, write_text

VERSION = 1
"""Version of the stored format; what another version stored is not read."""

CHUNK = 64  # files: few enough to lose little work to a kill, many enough for some hundred chunks of a large set
_POLL = 0.2  # seconds between two looks at chunks that other processes are at


@dataclass
class _Chunk:
    """Some files, their sizes in pixels, and their pixels one after the other unless they lie beyond the limit."""

    files: Sequence[Path]
    key: str
    shapes: list[tuple[int, int]] = field(default_factory=list)
    data: NDArray[np.uint8] | None = None
    stored: Path | None = None
    offsets: list[int] = field(default_factory=list)

    def set(self, shapes: Iterable[Sequence[int]]) -> int:
        """Note the sizes, and return the number of bytes of all pixels."""
        self.shapes = [(height, width) for height, width in shapes]
        self.offsets = np.cumsum([0, *(height * width * 3 for height, width in self.shapes)]).tolist()
        return self.offsets[-1]

    def image(self, position: int) -> Image | None:
        """Return the pixels of one file, read-only; None beyond the limit."""
        if self.data is None:
            if self.stored is None:
                return None
            self.data = np.asarray(np.memmap(self.stored, np.uint8, "r"))  # plain arrays are cut faster
        start, stop = self.offsets[position], self.offsets[position + 1]
        return self.data[start:stop].reshape(*self.shapes[position], 3)

    def __getstate__(self) -> dict:
        """Leave out a mapped file: the process that the chunk is sent to maps it again."""
        return self.__dict__ | ({"data": None} if self.stored is not None else {})


class Decoded:
    """Decoded pictures of files.

    Args:
        folder: Where decoded pictures are kept, for all runs; made if missing, and may be deleted at any time. None
            keeps them in this process's memory.
        limit: Bytes of pixels to keep.
    """

    def __init__(self, folder: str | Path | None = None, limit: float = 8e9) -> None:
        self.folder = None if folder is None else Path(folder)
        self.left = limit
        self.errors: dict[Path, str] = {}
        self._places: dict[Path, tuple[_Chunk, int]] = {}

    def fill(self, files: Iterable[Path], advance: Callable[[], None] = lambda: None) -> None:
        """Decode files that were not decoded before, and note in `errors` what cannot be read.

        Args:
            files: In an order that is the same in every run, since neighbours share a chunk.
            advance: Called once for each file.
        """
        new = [file for file in dict.fromkeys(files) if file not in self._places and file not in self.errors]
        keys = dict(zip(new, _identities(new), strict=True))
        waiting = deque(_Chunk(part, _digest(keys[file] for file in part)) for part in batches(new, CHUNK))
        while waiting:
            busy = []
            for chunk in waiting:
                with self._claim(chunk) as mine:
                    if not (self._load(chunk) or (mine and self._build(chunk))):
                        busy.append(chunk)
                        continue
                self._places |= {file: (chunk, position) for position, file in enumerate(chunk.files)}
                for _ in chunk.files:
                    advance()
            waiting = deque(busy)
            if busy:
                time.sleep(_POLL)
        self._places = {file: place for file, place in self._places.items() if file not in self.errors}

    def shape(self, picture: PathOrImage) -> tuple[int, int]:
        """Return height and width of a readable picture that `fill` has seen, or of an image."""
        if isinstance(picture, np.ndarray):
            return picture.shape[:2]
        chunk, position = self._places[picture]
        return chunk.shapes[position]

    def read(self, picture: PathOrImage) -> Image:
        """Return a picture as uint8 RGB, (H, W, 3), not to be written to; an image stands for itself.

        Raises:
            UserError: A file that is not kept has become unreadable.
        """
        if isinstance(picture, np.ndarray):
            return picture
        place = self._places.get(picture)
        image = None if place is None else place[0].image(place[1])
        return read_rgb(picture) if image is None else image

    @contextlib.contextmanager
    def _claim(self, chunk: _Chunk) -> Iterator[bool]:
        """Yield whether this process may build the chunk; false while another one does."""
        if self.folder is None:
            yield True
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f".{chunk.key}.lock", timeout=0)
            lock.acquire()
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError):  # a disk without locks, or read-only: do without
            yield True
            return
        try:
            yield True
        finally:
            # Whoever opened the file before it goes finds the chunk built; at worst it is built twice, the same.
            lock.release()
            (self.folder / f".{chunk.key}.lock").unlink(missing_ok=True)

    def _load(self, chunk: _Chunk) -> bool:
        """Take a chunk from the folder, if it is there and holds what is wanted."""
        if self.folder is None or not chunk.key:
            return False
        index, pixels = self.folder / f"{chunk.key}.json", self.folder / f"{chunk.key}.rgb"
        try:
            size = chunk.set(json.loads(index.read_text()))
            whole = size > 0 and pixels.exists() and pixels.stat().st_size == size
        except (OSError, ValueError, TypeError):
            return False
        if whole and size <= self.left:
            self.left -= size
            chunk.stored = pixels
        return chunk.stored is not None or not self._fits(size)

    def _build(self, chunk: _Chunk) -> bool:
        """Decode a chunk, and keep it if it fits."""
        results = list(in_threads(_decode, chunk.files))
        for file, result in zip(chunk.files, results, strict=True):
            if isinstance(result, str):
                self.errors[file] = result
        images = [np.zeros((0, 0, 3), np.uint8) if isinstance(result, str) else result for result in results]
        size = chunk.set(image.shape[:2] for image in images)
        # A chunk with errors is not written: the next run looks again, since rights may change and the file does not.
        store = self.folder is not None and not any(isinstance(result, str) for result in results)
        fits = self._fits(size)
        if store:
            with contextlib.suppress(OSError):  # a full or read-only disk costs time and nothing else
                self._write(chunk, images if fits else [])
        if fits:
            self.left -= size
            if chunk.stored is None:
                chunk.data = np.concatenate([image.reshape(-1) for image in images])
                chunk.data.flags.writeable = False
        return True

    def _write(self, chunk: _Chunk, images: Sequence[Image]) -> None:
        """Write pixels, then the index that makes them count."""
        pixels = self.folder / f"{chunk.key}.rgb"
        if images:
            with replacing(pixels) as temporary, open(temporary, "wb") as file:
                for image in images:
                    file.write(np.ascontiguousarray(image).data)
        write_text(self.folder / f"{chunk.key}.json", json.dumps(chunk.shapes))
        chunk.stored = pixels if images else None

    def _fits(self, size: int) -> bool:
        if size > self.left:
            return False
        if self.folder is None:
            return True
        with contextlib.suppress(OSError):
            return size < shutil.disk_usage(self.folder).free / 2
        return True


def _decode(file: Path) -> Image | str:
    """Return the picture, or what is wrong with it in one line without its name."""
    try:
        return read_rgb(file)
    except UserError as error:
        return str(error).removeprefix(f"{file}: ")


def _identities(files: Iterable[Path]) -> Iterator[str]:
    """Yield texts that change whenever the file does; the same for a folder and a link to it."""
    folders: dict[Path, str] = {}
    for file in files:
        if file.parent not in folders:
            folders[file.parent] = os.path.realpath(file.parent)
        try:
            status = file.stat()
            yield f"{folders[file.parent]}/{file.name} {status.st_size} {status.st_mtime_ns}"
        except OSError:
            yield f"{file} ?"


def _digest(identities: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join([str(VERSION), *identities]).encode(), digest_size=16).hexdigest()

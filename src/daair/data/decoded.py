"""A cache of decoded images, so that a file is decoded once instead of for every sample.

Files are decoded in chunks. A chunk is stored as one file of raw pixels and a small index, both written atomically, and
is mapped into memory. All processes and runs on a machine thus share its pages in the operating system's page cache,
which are evicted when memory is short. Without a folder, the chunks are kept in the memory of this process and shared
with its forks.

A chunk is named by a hash of the paths, sizes and modification times of its files, so a changed file is decoded again.
Processes that start together share the work: each decodes chunks that no other process is working on. Files beyond the
size limit are decoded once to find damaged ones before training begins, and then again at each use.
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

from daair.data.images import in_threads, read_rgb
from daair.data.listing import batches
from daair.data.sources import Leaves, PathOrImage
from daair.errors import UserError
from daair.files import replacing, write_text
from daair.pixels import Image

VERSION = 2
"""Version of the stored format; files of other versions are not read."""

CHUNK = 64  # files per chunk: a killed process loses little work, and a large set has only some hundred chunks
COSTS = {".png": 12.0, ".webp": 22.0, ".jpg": 4.0, ".jpeg": 4.0, ".jfif": 4.0, ".bmp": 3.0}
"""Nanoseconds of one core for each decoded byte, by suffix (benchmark images of this field, an AMD EPYC)."""

_COST = 8.0  # of other files: TIFF, PPM
_POLL = 0.2  # seconds to wait for chunks that other processes are decoding
_DTYPES = {1: np.uint8, 4: np.float32}  # types of images of 8 and of 16 bits, by bytes per sample
_ALIGN = 4  # bytes; the images of a chunk begin at multiples


@dataclass
class _Chunk:
    """Some files, their shapes (height, width, bytes per sample), and their pixels unless these exceed the limit."""

    files: Sequence[Path]
    key: str
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    data: NDArray[np.uint8] | None = None
    stored: Path | None = None
    offsets: list[int] = field(default_factory=list)

    def set(self, shapes: Iterable[Sequence[int]]) -> int:
        """Set the shapes of the images, and return the total number of bytes of their pixels."""
        self.shapes = [(height, width, depth) for height, width, depth in shapes]
        sizes = [-(-height * width * 3 * depth // _ALIGN) * _ALIGN for height, width, depth in self.shapes]
        self.offsets = np.cumsum([0, *sizes]).tolist()
        return self.offsets[-1]

    def image(self, position: int) -> Image | None:
        """Return the pixels of one file, read-only; None if they are not kept."""
        if self.data is None:
            if self.stored is None:
                return None
            self.data = np.asarray(np.memmap(self.stored, np.uint8, "r"))  # slicing a plain array is faster
        start, (height, width, depth) = self.offsets[position], self.shapes[position]
        return self.data[start : start + height * width * 3 * depth].view(_DTYPES[depth]).reshape(height, width, 3)

    def __getstate__(self) -> dict:
        """Leave out a mapped file; the process that receives the chunk maps it again."""
        return self.__dict__ | ({"data": None} if self.stored is not None else {})


class Decoded:
    """A cache of decoded images.

    Args:
        folder: Folder for decoded images, shared by all runs; it is created if missing and may be deleted at any time.
            None keeps the images in the memory of this process.
        limit: Number of bytes of pixels to keep.

    Attributes:
        errors: The reason why a file cannot be read, by file, for the unreadable ones that `fill` has met.
    """

    def __init__(self, folder: str | Path | None = None, limit: float = 8e9) -> None:
        self.folder = None if folder is None else Path(folder)
        self.left = limit
        self.errors: dict[Path, str] = {}
        self._places: dict[Path, tuple[_Chunk, int]] = {}

    def fill(self, files: Iterable[Path], advance: Callable[[], None] = lambda: None) -> None:
        """Decode the files that are not in the cache yet, and add the unreadable ones to `errors`.

        Args:
            files: Files in an order that is the same in every run, because consecutive files share a chunk.
            advance: Called once for each decoded file.
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
        """Return height and width of an image in memory or a generated one, or of a file that `fill` could read."""
        if not isinstance(picture, Path):
            return picture.shape[:2]
        chunk, position = self._places[picture]
        return chunk.shapes[position][:2]

    def read(self, picture: PathOrImage) -> Image:
        """Return an image as `read_rgb` does, which must not be modified; an image in memory is returned as it is.

        Raises:
            UserError: A file whose pixels are not kept has become unreadable.
        """
        if not isinstance(picture, Path):
            return picture.pixels() if isinstance(picture, Leaves) else picture
        place = self._places.get(picture)
        image = None if place is None else place[0].image(place[1])
        return read_rgb(picture) if image is None else image

    @contextlib.contextmanager
    def _claim(self, chunk: _Chunk) -> Iterator[bool]:
        """Yield whether this process may build the chunk; False while another process is building it."""
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
        except (OSError, NotImplementedError):  # the disk is read-only or has no locks; work without one
            yield True
            return
        try:
            yield True
        finally:
            # A process that opened the lock file before its removal finds the chunk built. At worst, two processes
            # build it, with the same contents.
            lock.release()
            (self.folder / f".{chunk.key}.lock").unlink(missing_ok=True)

    def _load(self, chunk: _Chunk) -> bool:
        """Load a stored chunk; return whether it needs no building."""
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
        """Decode a chunk, and keep its pixels if they fit into the limit; always return True."""
        results = list(in_threads(_decode, chunk.files))
        for file, result in zip(chunk.files, results, strict=True):
            if isinstance(result, str):
                self.errors[file] = result
        images = [np.zeros((0, 0, 3), np.uint8) if isinstance(result, str) else result for result in results]
        size = chunk.set((*image.shape[:2], image.itemsize) for image in images)
        # A chunk with errors is not written, because a file may become readable without a change of its key.
        store = self.folder is not None and not any(isinstance(result, str) for result in results)
        fits = self._fits(size)
        if store:
            with contextlib.suppress(OSError):  # a full or read-only disk only costs time
                self._write(chunk, images if fits else [])
        if fits:
            self.left -= size
            if chunk.stored is None:
                chunk.data = np.concatenate([_bytes(image) for image in images])
                chunk.data.flags.writeable = False
        return True

    def _write(self, chunk: _Chunk, images: Sequence[Image]) -> None:
        """Write the pixels, then the index, without which the pixels are not read."""
        pixels = self.folder / f"{chunk.key}.rgb"
        if images:
            with replacing(pixels) as temporary, open(temporary, "wb") as file:
                for image in images:
                    file.write(_bytes(image).data)
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


def cost_per_byte(files: Sequence[Path]) -> float:
    """Return how many nanoseconds it takes to decode files, for each byte of their pixels; 0 of no files."""
    return sum(COSTS.get(file.suffix.lower(), _COST) for file in files) / max(1, len(files))


def _bytes(image: Image) -> NDArray[np.uint8]:
    """Return the bytes of an image, padded to a multiple of `_ALIGN`."""
    flat = np.ascontiguousarray(image).reshape(-1).view(np.uint8)
    rest = -flat.size % _ALIGN
    return np.pad(flat, (0, rest)) if rest else flat


def _decode(file: Path) -> Image | str:
    """Return the image, or one line without the file's name that says why it is unreadable."""
    try:
        return read_rgb(file)
    except UserError as error:
        return str(error).removeprefix(f"{file}: ")


def _identities(files: Iterable[Path]) -> Iterator[str]:
    """Yield a text for each file that changes whenever the file does; links to its folder do not matter."""
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

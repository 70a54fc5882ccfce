"""Inspection of single image files: readability, size, colour, a hash of the contents and a fingerprint of the scene.

Each file is read and decoded once. The results are kept in a small database beside the runs, keyed by the path, size
and modification time of the file, so the second audit of RESIDE's 72,135 images costs one `stat` per file.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daair.data.audit.fingerprints import LENGTH, fingerprint, thumbnail
from daair.data.images import in_threads, read_rgb
from daair.data.listing import batches
from daair.errors import UserError
from daair.pixels import to_8_bit

VERSION = 1
"""Version of the table; tables of other versions are not read."""

_BATCH = 512  # files per transaction
_GREY = 2  # largest difference between the channels of a grey image's thumbnail, in grey levels of 255


@dataclass(frozen=True)
class FileFacts:
    """The properties of one image file.

    Attributes:
        width: Width in pixels after EXIF rotation; 0 if the file is unreadable.
        height: Height in pixels after EXIF rotation; 0 if the file is unreadable.
        grey: Whether the image has no colour, with one channel or with three equal ones.
        digest: Hash of the file's bytes.
        error: One line that says why the file is unreadable and what to do, without its name; empty if it is readable.
        fingerprint_bytes: The fingerprint as float16 bytes; empty if the file is unreadable.
    """

    width: int
    height: int
    grey: bool
    digest: str
    error: str
    fingerprint_bytes: bytes

    @property
    def size(self) -> str:
        """Width and height as text, `481x321`."""
        return f"{self.width}x{self.height}"

    @property
    def fingerprint(self) -> NDArray[np.float32]:
        """The fingerprint, (256,); zeros if the file is unreadable."""
        if not self.fingerprint_bytes:
            return np.zeros(LENGTH, np.float32)
        return np.frombuffer(self.fingerprint_bytes, np.float16).astype(np.float32)


def inspect_file(path: Path) -> FileFacts:
    """Read and decode one file as training does; a faulty file is reported in `error` instead of raising."""
    try:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        rgb = read_rgb(path)
    except OSError as error:
        return FileFacts(0, 0, False, "", error.strerror or str(error), b"")
    except UserError as error:
        return FileFacts(0, 0, False, digest, str(error).removeprefix(f"{path}: "), b"")
    small = thumbnail(Image.fromarray(to_8_bit(rgb)))
    grey = int(np.ptp(small, axis=2).max()) <= _GREY
    return FileFacts(rgb.shape[1], rgb.shape[0], grey, digest, "", fingerprint(small).astype(np.float16).tobytes())


def inspect_files(
    files: Iterable[Path],
    cache: Path | None = None,
    advance: Callable[[], None] = lambda: None,
    most_new: int | None = None,
) -> dict[Path, FileFacts]:
    """Inspect files in several threads.

    Args:
        files: Files to inspect; repeated ones are inspected once.
        cache: Database of earlier results, created if missing; None reads every file again.
        advance: Called once for each different file.
        most_new: Largest number of files to read that are not in the cache; None reads all of them.

    Returns:
        Facts by path in the order of `files`, without the files beyond `most_new`.
    """
    found: dict[Path, FileFacts] = {}
    with _Cache(cache) as store:
        for batch in batches(list(dict.fromkeys(files)), _BATCH):
            keys = {path: _key(path) for path in batch}
            known = {path: store.get(path, key) for path, key in keys.items()}
            for path in batch:
                if known[path] is not None:
                    advance()
            new = [path for path in batch if known[path] is None][:most_new]
            most_new = most_new if most_new is None else most_new - len(new)
            for path, facts in zip(new, in_threads(inspect_file, new), strict=True):
                known[path] = facts
                advance()
            # What could not be read may be readable the next time, though the file is the same.
            store.put([(path, keys[path], known[path]) for path in new if known[path].digest])
            found |= {path: facts for path, facts in known.items() if facts is not None}
    return found


def _key(path: Path) -> str:
    """Return a text that changes whenever the file does; empty if the file is missing."""
    try:
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    except OSError:
        return ""


class _Cache:
    """Facts by path and key in an SQLite file; the cache stays empty without a path or if the file is unusable.

    An unusable cache only costs time, so its errors are not reported.
    """

    def __init__(self, path: Path | None) -> None:
        self._connection: sqlite3.Connection | None = None
        if path is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(path, timeout=5, isolation_level=None)
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS facts{VERSION} (path TEXT PRIMARY KEY, key TEXT, width INT, "
                    "height INT, grey INT, digest TEXT, error TEXT, print BLOB) WITHOUT ROWID"
                )
                self._connection = connection

    def __enter__(self) -> "_Cache":
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, path: Path, key: str) -> FileFacts | None:
        """Return the stored facts of the file; None if there are none or the file has changed since."""
        if self._connection is None or not key:
            return None
        with contextlib.suppress(sqlite3.Error):
            row = self._connection.execute(
                f"SELECT width, height, grey, digest, error, print FROM facts{VERSION} WHERE path=? AND key=?",
                (os.path.abspath(path), key),
            ).fetchone()
            if row is not None and row[3]:  # an earlier version stored what could not be read
                return FileFacts(row[0], row[1], bool(row[2]), *row[3:])
        return None

    def put(self, rows: Sequence[tuple[Path, str, FileFacts]]) -> None:
        """Store facts in one transaction."""
        if self._connection is None or not rows:
            return
        values = [(os.path.abspath(path), key, *astuple(facts)) for path, key, facts in rows if key]
        with contextlib.suppress(sqlite3.Error), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                f"INSERT OR REPLACE INTO facts{VERSION} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
            )

"""Write files atomically (to a temporary file, flushed to disk and renamed), and handle names of files."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from daair.errors import UserError

LONGEST, LONGEST_BYTES = 80, 200  # characters and bytes of a name; additions to it fit into the limit of 255 bytes
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
"""Device names, which Windows does not allow as file names, with or without a suffix."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; after the block it replaces `path` atomically.

    If the block raises, `path` is unchanged and the temporary file is removed. The temporary path has the same suffix,
    since some writers choose the format by it. A missing folder is created.

    Raises:
        UserError: The disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        with telling_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path, key: str, folder: bool = False) -> None:
    """Check that a file or folder can be written, or that it and the folders above can be created; creates none.

    Args:
        folder: Whether it is to be a folder, which no file may be in the place of.

    Raises:
        UserError: It cannot; the message begins with `key`.
    """
    if path.is_symlink() and not os.path.exists(path):
        raise UserError(f"{key}: {path}: cannot be written (a link to what does not exist)")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there == path and path.is_file() and not folder:
        there = path.absolute().parent
    if not there.is_dir():
        raise UserError(f"{key}: {path}: cannot be written ({there} is a file)")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f"{key}: {path}: cannot be written ({error.strerror})") from None


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` after the block, as in `replacing`; `path` must not exist yet."""
    path = Path(path)
    temporary = path.parent / f".{path.name}.tmp"
    try:
        with telling_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def telling_full_disk(path: Path) -> Iterator[None]:
    """Replace errors of the block that come from a full disk by one line that says so.

    Raises:
        UserError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error, path):
            raise
        text = f"{path}: no space left on its disk; make room, then give the same command again"
        raise UserError(text) from error


def _is_full(error: Exception, path: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, UserError):
        return False
    # Libraries such as safetensors and PyTorch raise errors of their own, which do not always give the reason.
    with contextlib.suppress(OSError):
        return "No space left" in str(error) or shutil.disk_usage(path.parent).free < 1 << 16
    return False


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; surrogates, which stand for bytes that are not UTF-8, become these bytes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def safe_name(text: str) -> str:
    """Return `text` as a name for any file system; two different texts have different names.

    Letters and digits of any script, `.`, `_` and `-` stay. A text with others, or one that is too long, ends in six
    digits of its SHA-256. Texts that look equal are equal (Unicode's form NFC).
    """
    text = unicodedata.normalize("NFC", text)
    name = _file_name(text, LONGEST, LONGEST_BYTES)
    if name == text:
        return name
    start = _file_name(text, LONGEST - 7, LONGEST_BYTES - 7)
    return f"{start}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:6]}"


def _file_name(text: str, longest: int, longest_bytes: int) -> str:
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    stem, dot, rest = name.partition(".")
    if RESERVED.fullmatch(stem):
        name = f"{stem}_{dot}{rest}"
    return name[:longest].encode()[:longest_bytes].decode(errors="ignore").strip("-.") or "unnamed"


@lru_cache(maxsize=1 << 17)
def natural_key(name: str) -> tuple:
    """Return a sort key that orders numbers in names by value: `rank4` before `rank16`, `2.png` before `10.png`."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path, digits: int = 16) -> str:
    """Return the first hexadecimal digits of a file's SHA-256, of which there are 64."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)[:digits]


@lru_cache
def _digest(path: Path, _mtime: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

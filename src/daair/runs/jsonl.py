"""A file of JSON objects, one per line, to which whole lines are appended; an incomplete last line is ignored."""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from daair.files import telling_full_disk

TAIL = 1 << 16  # number of bytes at the end of a file that `newest` reads


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Append one object; NaN and infinity are written as null.

    Raises:
        UserError: The disk is full.
    """
    with telling_full_disk(file), open(file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(finite(row), allow_nan=False) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """Return all objects with a `step`, oldest first; none if the file does not exist."""
    return list(_objects(file.read_bytes().splitlines())) if file.is_file() else []


def newest(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects with a `step` in the last `TAIL` bytes of the file, the newest first."""
    try:
        with open(file, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL))
            lines = stream.read().split(b"\n")
    except FileNotFoundError:
        return
    yield from _objects(reversed(lines if size <= TAIL else lines[1:]))


def finite(value: Any) -> Any:
    """Return a JSON value in which NaN and infinity, which JSON does not know, are None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # the line is empty, or incomplete after a kill
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                yield row

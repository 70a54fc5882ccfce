"""Remember what a study was collated from, so that nothing is computed again while nothing has changed."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from daair.config.compose import conf_dir
from daair.errors import UserError
from daair.files import write_text
from daair.report import folders
from daair.runs import store
from daair.runs.record import Record

if TYPE_CHECKING:
    from daair.config.schema import Config

NAME = ".collate.json"


def state(cfg: "Config", tables: Path | None) -> str | None:
    """Return a digest of all that a study's tables depend on; None if some of it is not on this machine.

    These are the options, sizes and times of the runs' files, of tables, names and published values, and of the code.
    """
    if cfg.collate.source != "folders":
        return None
    options = cfg.to_dict()
    asked = {name: options[name] for name in ("collate", "study", "question", "benchmarks", "protocols", "paths")}
    places = [Path(conf_dir()) / "reference", Path(__file__).parents[1], *([tables] if tables else [])]
    runs = [one for s in cfg.studies for one in folders.find(cfg.paths.runs, s) if isinstance(one, Path)]
    found = [json.dumps(asked, sort_keys=True), *(line for place in (*places, *runs) for line in _stamps(place))]
    found += filter(None, map(_running, runs))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _running(run: Path) -> str | None:
    """Return the state of a run that says it is running, which may be that of a dead process; None for others."""
    with suppress(UserError):
        status = Record(run).status()
        return f"{run} {store.actual_state(status)}" if status.state == "running" else None
    return None


def remember(folder: Path, state: str | None, files: Iterable[Path], said: str) -> None:
    """Note the digest, the user's own files that were read and those that were written, and what was said of them."""
    if state is not None:
        stamps = {str(file): list(_stamps(file)) for file in files}
        write_text(folder / NAME, json.dumps({"state": state, "files": stamps, "said": said}))


def recall(folder: Path, state: str | None) -> str | None:
    """Return what was said, if the digest is the same and the files are as they were written; else None."""
    try:
        noted = json.loads((folder / NAME).read_text(encoding="utf-8"))
        same = noted["state"] == state and all(list(_stamps(Path(f))) == was for f, was in noted["files"].items())
        return noted["said"] if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _stamps(place: Path) -> Iterator[str]:
    """Yield the name, size and time of a file, or of all files in a folder except caches and checkpoints."""
    if not place.is_dir():
        found = place.stat() if place.exists() else None
        yield f"{place} {found and (found.st_size, found.st_mtime_ns)}"
        return
    with os.scandir(place) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name not in ("__pycache__", "checkpoints"):
                yield from _stamps(Path(entry.path))

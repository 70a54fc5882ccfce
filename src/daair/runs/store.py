"""Finding run folders and reading their states, without locking or writing anything.

    <runs>/<study>/<label>-<config id>/seed<k>/
    <runs>/<study>/<label>-<id>/weights/           a network that was only evaluated (daair.engine.study_row)

Only folders with such names are runs; others in the folder of runs (evaluations, tables, hidden folders, the user's
own) are ignored.
"""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daair.errors import UserError
from daair.files import natural_key, safe_name
from daair.runs.record import Record, State, Status

VARIANT = re.compile(r"(?P<label>.+)-(?P<id>[0-9a-f]{8})")
EVALUATED_FOLDER = "weights"  # in the place of `seed<k>`, for a network that was only evaluated
SEED = re.compile(rf"seed(0|[1-9][0-9]*)|{EVALUATED_FOLDER}")
CLOCK_TOLERANCE = 60.0  # seconds by which a process may appear younger than its run, because clocks are adjusted


@dataclass(frozen=True)
class Run:
    """A run as read from its folder.

    Attributes:
        folder: The run's folder.
        study, label, id, seed: The parts of its path `<study>/<label>-<id>/seed<seed>`; a network that was
            only evaluated has no seed.
        status: Contents of status.json; `state` is the actual state of the run.
        problem: One line that says why status.json cannot be read; empty if it can.
    """

    folder: Path
    study: str
    label: str
    id: str
    seed: int | None
    status: Status
    problem: str = ""

    @property
    def variant(self) -> str:
        """The name of the folder of all seeds of the config, `<label>-<id>`."""
        return f"{self.label}-{self.id}"

    @property
    def name(self) -> str:
        """The name of the run, `<study>/<label>-<id>/seed<k>`."""
        return "/".join(self.folder.parts[-3:])

    @property
    def died(self) -> bool:
        """Whether the status names a process of this machine that has ended; False for other machines."""
        return died(self.status)

    @property
    def state(self) -> State:
        """The actual state; see `actual_state`."""
        return actual_state(self.status)

    @property
    def shown_state(self) -> str:
        """What to tell of the state: `unreadable` if status.json cannot be read."""
        return "unreadable" if self.problem else self.state


def actual_state(status: Status) -> State:
    """Return `interrupted` if the run's process has died, else the state in status.json."""
    return "interrupted" if died(status) else status.state


def died(status: Status) -> bool:
    """Say whether a status names a process of this machine that has ended; False for other machines."""
    return status.state == "running" and status.host == socket.gethostname() and not _process_lives(status)


def _process_lives(status: Status) -> bool:
    import psutil

    try:
        process = psutil.Process(status.pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # it has ended; in a container often nobody asks for its status
            return False
        born = process.create_time()
        # A younger process has reused the number.
        return born <= datetime.fromisoformat(status.started).timestamp() + CLOCK_TOLERANCE
    except (psutil.NoSuchProcess, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def seed_of(name: str) -> int | None:
    """Return the seed that the folder of a run is called after; None of a network that was only evaluated."""
    return None if name == EVALUATED_FOLDER else int(name.removeprefix("seed"))


def is_named_like_a_run(folder: Path) -> bool:
    """Return whether a folder is called `<label>-<config id>/seed<k>`."""
    return bool(VARIANT.fullmatch(folder.parent.name) and SEED.fullmatch(folder.name))


def identity(run: str) -> tuple[str, ...]:
    """Return the study, config id and seed of `<study>/<label>-<config id>/seed<k>`, which identify a run."""
    study, variant, seed = run.rsplit("/", 2)
    return study, variant.rpartition("-")[2], seed


def studies(runs: str | Path) -> list[str]:
    """Return the names of the studies with at least one run, in natural order."""
    runs = Path(runs)
    return [name for name in _subfolders(runs) if next(_runs_in(runs / name, foreign=True), None) is not None]


def study_folder(runs: str | Path, study: str) -> Path:
    """Return the folder of a study, which need not exist.

    Args:
        runs: The folder of runs.
        study: The study's name; or the name or path within `runs` of a folder that was renamed or moved by hand, such
            as `archive/rank`.
    """
    own, other = Path(runs, safe_name(study)), Path(study)
    inside = bool(other.parts) and not other.is_absolute() and ".." not in other.parts
    return Path(runs, other) if inside and not own.is_dir() and Path(runs, other).is_dir() else own


def run_folders(runs: str | Path, study: str | None = None) -> Iterator[Path]:
    """Yield the folders of all runs or of one study's runs, in natural order (rank4 before rank16).

    No file is opened. A study that does not exist has no runs. Without `study`, nor has a folder that must not be read,
    such as the `lost+found` of a disk.

    Raises:
        PermissionError: The study must not be read.
    """
    if study is not None:
        yield from _runs_in(study_folder(runs, study), foreign=False)
        return
    for name in _subfolders(Path(runs)):
        yield from _runs_in(Path(runs, name), foreign=True)


def _runs_in(top: Path, foreign: bool) -> Iterator[Path]:
    """Yield the folders of the runs of one study; `foreign` says whether it may be none of ours."""
    try:
        variants = _subfolders(top)
    except PermissionError:
        if not foreign:
            raise
        return
    for variant in filter(VARIANT.fullmatch, variants):
        for seed in filter(SEED.fullmatch, _subfolders(top / variant)):
            yield Path(top, variant, seed)


def read(folder: str | Path) -> Run:
    """Return one run; an unreadable status.json is reported in `problem`.

    Args:
        folder: A run's folder from `run_folders`.

    Raises:
        ValueError: The path is not that of a run's folder.
    """
    folder = Path(folder)
    if not is_named_like_a_run(folder):
        raise ValueError(f"{folder} is not named like a run's folder")
    study, variant, seed = folder.parts[-3:]
    names = VARIANT.fullmatch(variant)
    try:
        status, problem = Record(folder).read_status(), ""
    except UserError as error:
        status, problem = Status(), str(error)
    return Run(folder, study, names["label"], names["id"], seed_of(seed), status, problem)


def find_variant(runs: str | Path, study: str, config_id: str) -> str | None:
    """Return the folder name `<label>-<config id>` that a study has for a config id, with any label; None if none."""
    names = _subfolders(Path(runs) / safe_name(study))
    return next((name for name in names if (match := VARIANT.fullmatch(name)) and match["id"] == config_id), None)


def _subfolders(folder: Path) -> list[str]:
    """Return the names of the visible folders in `folder`, in natural order; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names, key=natural_key)


def _is_folder(entry: os.DirEntry) -> bool:
    """Return whether an entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False

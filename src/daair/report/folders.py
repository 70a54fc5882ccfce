"""What is in a study's folder: its runs, also those that were renamed by hand, and what does not belong to it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daair.errors import UserError
from daair.report.flat import flatten
from daair.runs import store
from daair.runs.record import Record

OUTPUTS = ("runs.parquet", "runs.csv", "report.html", "figures", "tables", "table.md", "table.tex", "table.csv")
"""Files and folders that collating writes into a study's folder; besides these, only runs belong there."""


@dataclass(frozen=True)
class LeftOut:
    """A folder or file that is not in the frame.

    Attributes:
        path: The path relative to the folder of runs.
        reason: The reason, in one line.
        damaged: Whether it is a run that cannot be read, which a reader of the table must know.
    """

    path: str
    reason: str
    damaged: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def find(runs: str | Path, study: str) -> Iterator[Path | LeftOut]:
    """Yield the folders of a study's runs, those with names of their own first, and everything else that is there.

    A folder below the study's or below a variant's is a run whatever its name, if it has a config and a status.
    """
    yield from store.run_folders(runs, study)
    top = store.study_folder(runs, study)
    for child in _visible(top):
        path, is_variant = Path(child.path), bool(store.VARIANT.fullmatch(child.name))
        if child.name in OUTPUTS:
            continue
        if _is_run(path):
            yield path
            continue
        inside = [Path(entry.path) for entry in _visible(path) if not (is_variant and _has_seed(entry))]
        renamed = [one for one in inside if _is_run(one)]
        yield from renamed
        if is_variant or renamed:
            others = [one for one in inside if one not in renamed]
            yield from (LeftOut(name(one, runs), "not a run: no folder named seed<number>") for one in others)
        else:
            yield LeftOut(name(path, runs), "not a run: no folder named <label>-<config id>")


def name(folder: Path, runs: str | Path) -> str:
    """Return what the frame calls a folder: its path below the folder of runs."""
    return folder.relative_to(runs).as_posix()


@dataclass(frozen=True)
class RunNames:
    """What a run goes by: the study, label, config id and seed."""

    study: str
    label: str
    id: str
    seed: int | None

    @property
    def variant(self) -> str:
        """The name that the seeds of a config share."""
        return f"{self.label}-{self.id}"

    @property
    def identity(self) -> tuple[str, str, int | None]:
        """What makes it another run: the label is for readers."""
        return self.study, self.id, self.seed


def names_of(folder: Path, run: str, study: str) -> RunNames:
    """Return the names of a run by its folder as far as this was not renamed, else by its config.

    Args:
        folder: The run's folder.
        run, study: What the frame calls it and its study, see `name`.
    """
    *parents, seed = run.removeprefix(f"{study}/").split("/")
    found = store.VARIANT.fullmatch(parents[0]) if parents else None
    if found and store.SEED.fullmatch(seed):
        return RunNames(study, found["label"], found["id"], store.seed_of(seed))
    frozen = Record(folder).config()
    label, config_id = (found["label"], found["id"]) if found else ((*parents, seed)[0], _config_id(frozen))
    number = frozen.get("seed")
    return RunNames(study, label, config_id, number if isinstance(number, int) else None)


def _config_id(frozen: Mapping[str, Any]) -> str:
    """Return the config id of a frozen config; of one that this version cannot read, a hash of the same keys."""
    from daair.config.identity import config_id
    from daair.config.schema import Config, names_config

    try:
        return config_id(Config.from_dict(frozen))
    except (UserError, KeyError, TypeError, AttributeError):
        kept = sorted((key, str(value)) for key, value in flatten(frozen) if names_config(key))
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:8]


def _is_run(folder: Path) -> bool:
    record = Record(folder)
    return record.config_file.is_file() and record.status_file.is_file()


def _has_seed(entry: os.DirEntry) -> bool:
    return entry.is_dir() and bool(store.SEED.fullmatch(entry.name))


def _visible(folder: str | Path) -> list[os.DirEntry]:
    """Return what is in a folder; nothing if it is a file or does not exist."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)

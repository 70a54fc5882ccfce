"""Many runs as one tidy frame, read from their folders only; no folder is locked or changed.

The frame has a row per run, benchmark, protocol and image. A run without results has one row in which those three are
empty, so that missing runs can be counted. Columns, in this order:

| column | meaning |
| --- | --- |
| run | `<study>/<label>-<config id>/seed<k>`: the run's folder below the folder of runs |
| study, variant, label, id | names of the run; `variant` is `<label>-<id>`, the same for all seeds of a config |
| seed | integer; empty for a network that was only evaluated |
| state | queued, running, done, failed, interrupted |
| attempt | number of times the run was started |
| steps | training budget in optimizer updates; empty if unknown |
| started, finished | ISO times, UTC; empty if it has not happened |
| commit | commit of the source tree, with a `+` if it had changes |
| hardware | the GPUs, else the processor |
| torch | version of PyTorch |
| parameters, macs | size of the network; multiply-accumulates for one 224 x 224 image |
| images_per_second | training crops per second in the training loop, including validations and checkpoints |
| seconds | time in the training loop, all attempts together |
| update_seconds | time in its updates alone, without waiting for images; what `train.budget` counts |
| training_data | digest of the training images |
| processes | how many shared each batch, in the latest attempt |
| origin | for a network that was only evaluated, the origin of its weights, see `daair.engine.study_row` |
| weights_file, weights_digest | name of its weights file, and the SHA-256 of that file |
| benchmark, protocol, image, ... | as in results.csv, see `daair.engine.evaluate`; `step` = updates when measured |
| gain, ... | metrics that are computed from others, see `daair.metrics.METRICS` |
| router, model, mix, ... | the chosen option of each config group |
| experts.rank, train.steps, ... | every other key of the frozen config, by its dotted name |

Text columns are categories. Numbers are integers or floats, truth values booleans. A cell is empty if the config lacks
the key or its value is null. A key that has texts and numbers is text.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from daair.errors import UserError, nearest, one_line
from daair.files import natural_key, safe_name
from daair.report.config_columns import Piece, column, config_columns, read_config
from daair.runs import results, store
from daair.runs.record import Place, Record, Status

SUMMARY = (
    "parameters", "macs", "images_per_second", "seconds", "update_seconds", "training_data", "processes", "origin",
    "weights_file", "weights_digest",
)  # fmt: skip
FACTS = (
    "run", "study", "variant", "label", "id", "seed", "state", "attempt", "steps", "started", "finished", "commit",
    "hardware", "torch", *SUMMARY,
)  # fmt: skip
"""Columns that describe the whole run, apart from its config."""

OUTPUTS = ("runs.parquet", "runs.csv", "report.html", "figures", "tables", "table.md", "table.tex", "table.csv")
"""Files and folders that collating writes into a study's folder; besides these, only runs belong there."""


@dataclass(frozen=True)
class LeftOut:
    """A folder or file that is not in the frame.

    Attributes:
        path: The path relative to the folder of runs.
        reason: The reason, in one line.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class RunContents:
    """The contents of one run's files, before they are put into a frame.

    Attributes:
        run: `<study>/<label>-<config id>/seed<k>`.
        status: Contents of status.json.
        config: The frozen config in pieces (`daair.report.config_columns.read_config`), with `choices.<group>`.
        environment: Contents of environment.json, or {}.
        summary: Contents of summary.json (`Record.summarise`), or {}.
        results: Text of results.csv, or None if there is none.
    """

    run: str
    status: Status
    config: tuple[Piece, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    results: bytes | None = None


@dataclass(frozen=True)
class Collated:
    """The runs that were read.

    Attributes:
        runs: A row per run: `FACTS`, group choices, config keys.
        images: A row per run, benchmark, protocol and image: the columns of results.csv, and `run`.
        left_out: Folders and files that could not be read or do not belong to the runs.
    """

    runs: pd.DataFrame
    images: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """Return everything as one tidy frame; the module's docstring lists its columns."""
        return self.part(self.runs.index)

    def part(self, rows: pd.Index) -> pd.DataFrame:
        """Return the tidy frame of some rows of `runs`."""
        some = self.runs.loc[rows]
        # Both tables are sorted by run and their `run` has the same categories, so positions suffice for the merge.
        codes = self.images["run"].cat.codes.to_numpy()
        chosen = np.isin(codes, rows.to_numpy())
        images, codes = self.images[chosen].drop(columns="run"), codes[chosen]
        without = np.setdiff1d(rows.to_numpy(), codes)
        order = np.argsort(np.concatenate([codes, without]), kind="stable")
        owner = np.concatenate([codes, without])[order]
        images = images.reset_index(drop=True).reindex(order)  # positions past the end are rows without an image
        images.index = pd.RangeIndex(len(images))
        facts = some.loc[owner].reset_index(drop=True)
        names = [*FACTS, *images.columns, *(name for name in facts.columns if name not in FACTS)]
        return pd.concat([facts, images], axis=1)[names]


def frame(runs: str | Path, study: str | None = None) -> Collated:
    """Read all runs of a study, or of all studies.

    Args:
        runs: The folder of runs (`paths.runs`).
        study: Name of one study; None = all.

    Raises:
        UserError: There is no run; the message lists what there is instead.
    """
    runs, left_out, found = Path(runs), [], []
    for name in [study] if study is not None else store.studies(runs):
        left_out += _strangers(runs, name)
        for folder in store.run_folders(runs, name):
            try:
                found.append(read(folder))
            except (UserError, ValueError, OSError) as error:
                reason = one_line(error).replace(f"{folder}{os.sep}", "")
                left_out.append(LeftOut(folder.relative_to(runs).as_posix(), reason))
    collated = assemble(found, left_out)
    if collated.runs.empty:
        raise UserError(_no_runs(runs, study, collated.left_out))
    return collated


def read_path(path: str | Path) -> Collated:
    """Read a study's folder, or the folder of all studies.

    Raises:
        UserError: `path` holds no run as either of them.
    """
    path = Path(path).resolve()
    if next(store.run_folders(path.parent, path.name), None) is not None:
        return frame(path.parent, path.name)
    return frame(path)


def read(folder: Path) -> RunContents:
    """Read one run's folder.

    Raises:
        UserError, ValueError, OSError: A file is damaged or of another version.
    """
    record, file = Record(folder), Record.config_file
    status = record.read_status()
    text = _contents(record, file)
    if text is None:
        raise ValueError(f"has no {file.name}")
    try:
        config = read_config(text.decode())
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None
    if b"\nseed:" not in b"\n" + text and b"\nmodel:" in b"\n" + text:
        raise ValueError(f"{file.name}: ends before the seed")
    facts = record.environment(), record.summary(), _contents(record, Record.results_file)
    return RunContents("/".join(folder.parts[-3:]), status, config, *facts)


def assemble(found: Iterable[RunContents], left_out: Iterable[LeftOut] = ()) -> Collated:
    """Put runs into tables; a run whose results cannot be read is left out as a whole."""
    found = sorted(found, key=lambda one: [natural_key(part) for part in one.run.split("/")])
    found, copies = _without_copies(found)
    rows, damaged = results.parse([one.results for one in found])
    left_out = (*left_out, *copies, *(LeftOut(found[i].run, reason) for i, reason in damaged.items()))
    kept = [i for i in range(len(found)) if i not in damaged]
    found = [found[i] for i in kept]
    order = [one.run for one in found]
    rows["run"] = pd.Categorical.from_codes(np.searchsorted(kept, rows["run"]), categories=order)
    facts = [_facts(one) for one in found]
    columns = {name: column([row[name] for row in facts]) for name in FACTS}
    if columns["seed"].hasnans:
        columns["seed"] = columns["seed"].astype("Int64")
    for name, series in config_columns([one.config for one in found]).items():
        columns.setdefault(name, series)  # `study`, `label` and `seed` are taken from the folder's name
    runs = pd.DataFrame(columns)
    runs["run"] = pd.Categorical(order, categories=order)
    return Collated(runs, rows, left_out)


def _without_copies(found: list[RunContents]) -> tuple[list[RunContents], list[LeftOut]]:
    """Keep one of the runs with the same study, config and seed: a finished one if there is one, then the latest."""
    best: dict[tuple[str, ...], RunContents] = {}
    for one in sorted(found, key=lambda one: (one.status.state == "done", one.status.finished or "")):
        best[store.identity(one.run)] = one
    kept, left_out = [], []
    for one in found:
        counts = best[store.identity(one.run)]
        if counts is one:
            kept.append(one)
        else:
            left_out.append(LeftOut(one.run, f"has the config and seed of {counts.run}, which counts"))
    return kept, left_out


def _facts(one: RunContents) -> dict[str, Any]:
    study, variant, seed = one.run.split("/")
    label, _, config_id = variant.rpartition("-")
    status, environment = one.status, one.environment
    return {
        "run": one.run, "study": study, "variant": variant, "label": one.summary.get("label") or label,
        "id": config_id, "seed": store.seed_of(seed), "state": status.state, "attempt": status.attempt,
        "steps": status.steps or None, "started": status.started or None, "finished": status.finished or None,
        "commit": status.commit or None,
        "hardware": _hardware(status, environment), "torch": (environment.get("packages") or {}).get("torch"),
        **{name: one.summary.get(name) for name in SUMMARY},
    }  # fmt: skip


def _hardware(status: Status, environment: Mapping[str, Any]) -> str | None:
    return environment.get("processor") if status.device in ("", "cpu") else status.device


def _strangers(runs: Path, study: str) -> Iterator[LeftOut]:
    """Yield everything in a study's folder that is neither a run nor an output."""
    top = runs / safe_name(study)
    if not top.is_dir():
        return
    for child in _visible(top):
        if child.is_dir(follow_symlinks=True) and store.VARIANT.fullmatch(child.name):
            for seed in _visible(child.path):
                if not (seed.is_dir() and store.SEED.fullmatch(seed.name)):
                    yield LeftOut(f"{top.name}/{child.name}/{seed.name}", "not a run: no folder named seed<number>")
        elif child.name not in OUTPUTS:
            yield LeftOut(f"{top.name}/{child.name}", "not a run: no folder named <label>-<config id>")


def _visible(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _contents(record: Record, place: Place) -> bytes | None:
    try:
        return record.contents(place)
    except FileNotFoundError:
        return None


def _no_runs(runs: Path, study: str | None, left_out: tuple[LeftOut, ...]) -> str:
    """Return the message for a folder without runs."""
    if left_out:
        return f"{runs / (study or '')}: no run can be read; {left_out[0]}"
    known = store.studies(runs)
    if study is None or not known:
        return f"{runs}: no runs there yet; start one with python run.py study=NAME"
    near = nearest(study, known)
    hint = f"did you mean study={near}?" if near else f"studies with runs: {', '.join(known)}"
    return f"study={study} has no runs in {runs}; {hint}"

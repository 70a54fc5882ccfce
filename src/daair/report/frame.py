"""Many runs as one tidy frame, read from their folders only; no folder is locked or changed.

The frame has a row per run, benchmark, protocol and image. A run without results has one row in which those three are
empty, so that missing runs can be counted. Columns, in this order:

| column | meaning |
| --- | --- |
| run | `<study>/<label>-<config id>/seed<k>`: the run's folder below the folder of runs, whatever it is called |
| study, variant, label, id | names of the run; `variant` is `<label>-<id>`, the same for all seeds of a config |
| seed | integer; empty for a network that was only evaluated |
| state | queued, running, done, failed, interrupted |
| attempt | number of times the run was started |
| steps | training budget in optimizer updates; empty if unknown |
| started, finished | ISO times, UTC; empty if it has not happened |
| commit | commit of the source tree, with a `+` if it had changes |
| own_code | packages of the user's own that the config names, with a digest of their code |
| hardware | the GPUs, else the processor; `2 x` if two processes worked on it |
| torch | version of PyTorch |
| parameters, macs | size of the network; multiply-accumulates for one 224 x 224 image |
| images_per_second | training crops per second in the last stage, including validations and checkpoints |
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
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from daair.errors import UserError, nearest, one_line
from daair.files import natural_key
from daair.report import folders
from daair.report.config_columns import Piece, column, config_columns, read_config, with_added
from daair.report.folders import LeftOut, RunNames
from daair.runs import results, store
from daair.runs.environment import hardware
from daair.runs.record import Place, Record, Status

SUMMARY = (
    "parameters", "macs", "images_per_second", "seconds", "update_seconds", "training_data", "processes", "origin",
    "weights_file", "weights_digest",
)  # fmt: skip
FACTS = (
    "run", "study", "variant", "label", "id", "seed", "state", "attempt", "steps", "started", "finished", "commit",
    "own_code", "hardware", "torch", *SUMMARY,
)  # fmt: skip
"""Columns that describe the whole run, apart from its config."""

NUMBERS = (
    "seed", "attempt", "steps", "parameters", "macs", "images_per_second", "seconds", "update_seconds", "processes",
)  # fmt: skip
"""Those that are numbers, also where no run has a value, as none has `steps` in a study of weights alone."""


@dataclass(frozen=True)
class RunContents:
    """The contents of one run's files, before they are put into a frame.

    Attributes:
        run: The run's folder below the folder of runs, `<study>/<label>-<config id>/seed<k>` if it was not renamed.
        names: What it goes by.
        status: Contents of status.json.
        config: The frozen config in pieces (`daair.report.config_columns.read_config`), with `choices.<group>`.
        environment: Contents of environment.json, or {}.
        summary: Contents of summary.json (`Record.summarise`), or {}.
        results: Text of results.csv, or None if there is none.
    """

    run: str
    names: RunNames
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


def frame(runs: str | Path, studies: str | Sequence[str] | None = None) -> Collated:
    """Read all runs of some studies, or of all.

    Args:
        runs: The folder of runs (`paths.runs`).
        studies: Name of one study, or names; None = all. See `daair.runs.store.study_folder`.

    Raises:
        UserError: A study has no run; the message lists what there is instead.
    """
    runs, left_out, found = Path(runs), [], []
    asked = [studies] if isinstance(studies, str) else studies
    for study in store.studies(runs) if asked is None else asked:
        known_as = folders.name(store.study_folder(runs, study), runs)
        for one in folders.find(runs, study):
            if isinstance(one, LeftOut):
                left_out.append(one)
                continue
            try:
                found.append(read(one, runs, known_as))
            except (UserError, ValueError, OSError) as error:
                reason = one_line(error).replace(f"{one}{os.sep}", "")
                left_out.append(LeftOut(folders.name(one, runs), reason, damaged=True))
    collated = assemble(found, left_out)
    has = set(collated.runs["study"]) if found else set()
    for study in asked or ():
        if folders.name(store.study_folder(runs, study), runs) not in has:
            raise UserError(_no_runs(runs, study, collated.left_out))
    if not has:
        raise UserError(_no_runs(runs, None, collated.left_out))
    return collated


def read_path(path: str | Path) -> Collated:
    """Read a study's folder, or the folder of all studies.

    Raises:
        UserError: `path` holds no run as either of them.
    """
    if not isinstance(path, str | PathLike) or str(path) == "":
        raise UserError(f"{path!r} is no path of a folder of runs")
    path = Path(path).resolve()
    if any(isinstance(one, Path) for one in folders.find(path.parent, path.name)):
        return frame(path.parent, path.name)
    return frame(path)


def read(folder: Path, runs: Path, study: str) -> RunContents:
    """Read one run's folder.

    Args:
        folder: The run's folder.
        runs: The folder of runs.
        study: What the frame calls its study.

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
    run = folders.name(folder, runs)
    return RunContents(run, folders.names_of(folder, run, study), status, config, *facts)


def assemble(found: Iterable[RunContents], left_out: Iterable[LeftOut] = ()) -> Collated:
    """Put runs into tables; a run whose results cannot be read is left out as a whole."""
    found = sorted(found, key=lambda one: [natural_key(part) for part in one.run.split("/")])
    found, copies = _without_copies(found)
    rows, damaged = results.parse([one.results for one in found])
    left_out = (*left_out, *copies, *(LeftOut(found[i].run, reason, damaged=True) for i, reason in damaged.items()))
    kept = [i for i in range(len(found)) if i not in damaged]
    found = [found[i] for i in kept]
    order = [one.run for one in found]
    rows["run"] = pd.Categorical.from_codes(np.searchsorted(kept, rows["run"]), categories=order)
    labels = {Path(one.run).parent: label for one in found if (label := one.summary.get("label"))}
    facts = [_facts(one, labels.get(Path(one.run).parent)) for one in found]
    columns = {name: column([row[name] for row in facts]) for name in FACTS}
    columns |= {name: columns[name].astype("float64") for name in NUMBERS if columns[name].isna().all()}
    if columns["seed"].hasnans:
        columns["seed"] = columns["seed"].astype("Int64")
    for name, series in with_added(config_columns([one.config for one in found])).items():
        columns.setdefault(name, series)  # `study`, `label` and `seed` are taken from the folder's name
    runs = pd.DataFrame(columns)
    runs["run"] = pd.Categorical(order, categories=order)
    return Collated(runs, rows, left_out)


def _without_copies(found: list[RunContents]) -> tuple[list[RunContents], list[LeftOut]]:
    """Keep one of the runs with the same study, config and seed: a finished one if there is one, then the latest."""
    best: dict[tuple, RunContents] = {}

    def order(one: RunContents) -> tuple:
        return one.status.state == "done", one.status.finished or "", store.is_named_like_a_run(Path(one.run))

    for one in sorted(found, key=order):
        best[one.names.identity] = one
    kept, left_out = [], []
    for one in found:
        counts = best[one.names.identity]
        if counts is one:
            kept.append(one)
        else:
            left_out.append(LeftOut(one.run, f"has the config and seed of {counts.run}, which counts"))
    return kept, left_out


def _facts(one: RunContents, label: str | None) -> dict[str, Any]:
    """Return what the columns `FACTS` say of a run; `label` is that of its config, if its folder's name is not."""
    names, status, environment = one.names, one.status, one.environment
    return {
        "run": one.run, "study": names.study, "variant": names.variant,
        "label": label or names.label, "id": names.id, "seed": names.seed,
        "state": store.actual_state(status), "attempt": status.attempt, "steps": status.steps or None,
        "started": status.started or None, "finished": status.finished or None,
        "commit": status.commit or None,
        "own_code": _own_code(environment.get("own_code")),
        "hardware": hardware(status.device, environment.get("processor")),
        "torch": (environment.get("packages") or {}).get("torch"),
        **{name: one.summary.get(name) for name in SUMMARY},
    }  # fmt: skip


def _own_code(noted: Any) -> str | None:
    """Return `package digest, ...`; None for what does not have that form, as a file of somebody else may not."""
    parts = noted.items() if isinstance(noted, Mapping) else ()
    words = [pair for pair in parts if re.fullmatch(r"\w+ \w+(\+\w+)*", " ".join(map(str, pair)))]
    return ", ".join(f"{name} {digest}" for name, digest in words) or None


def _contents(record: Record, place: Place) -> bytes | None:
    try:
        return record.contents(place)
    except FileNotFoundError:
        return None


def _no_runs(runs: Path, study: str | None, left_out: tuple[LeftOut, ...]) -> str:
    """Return the message for a folder without runs."""
    top = runs if study is None else store.study_folder(runs, study)
    own = [one for one in left_out if study is None or one.path.startswith(f"{folders.name(top, runs)}/")]
    if own:
        return f"{top}: no run can be read; {own[0]}"
    known = store.studies(runs)
    if study is None or not known:
        return f"{runs}: no runs there yet; start one with python run.py study=NAME"
    near = nearest(study, known)
    hint = f"did you mean study={near}?" if near else f"studies with runs: {', '.join(known)}"
    return f"study={study} has no runs in {runs}; {hint}"

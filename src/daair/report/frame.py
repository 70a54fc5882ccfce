"""Many runs as one tidy frame, read from their folders and nothing else; no folder is locked, changed or added to.

The frame has a row per run, benchmark, protocol and image. A run without results has one row, with those three empty,
so that what is missing can be counted. Columns, in this order:

| column | meaning |
| --- | --- |
| run | `<study>/<label>-<config id>/seed<k>`: the run's folder below the folder of runs |
| study, variant, label, id | of the run; `variant` is `<label>-<id>`, the same for all seeds of a config |
| seed | integer |
| state | queued, running, done, failed, interrupted |
| attempt | how often it was started |
| steps | optimizer updates that it was to make |
| started, finished | ISO times, UTC; empty for what has not happened |
| commit | of the source tree, with a `+` when it had changes |
| hardware | the GPUs, else the processor |
| torch | version |
| parameters, macs | of the network: numbers, multiply-accumulates of one 224 x 224 image |
| images_per_second | training crops; of the training loop with its validations and checkpoints |
| seconds | in the training loop, all attempts together |
| training_data | digest of the pictures that it was trained on |
| benchmark, protocol, image, ... | as in results.csv, see `daair.engine.evaluate`; `step` = updates when measured |
| gain | psnr - input_psnr, dB |
| router, model, mix, ... | the option taken from each config group |
| experts.rank, train.steps, ... | every other key of the frozen config, by its dotted name (see `daair.report.flat`) |

Text columns are categories. Numbers are integers or floats, truth values booleans; a key that some config lacks, or
where it is null, is empty there. A key that has texts and numbers is text.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from daair.errors import UserError, nearest, one_line
from daair.files import safe_name
from daair.report.columns import column, config_columns
from daair.report.flat import Piece, read_flat
from daair.runs import results, store
from daair.runs.record import Place, Record, Status

FACTS = (
    "run", "study", "variant", "label", "id", "seed", "state", "attempt", "steps", "started", "finished", "commit",
    "hardware", "torch", "parameters", "macs", "images_per_second", "seconds", "training_data",
)  # fmt: skip
"""Columns that tell of the whole run, besides its config."""

OUTPUTS = ("runs.parquet", "runs.csv", "report.html", "figures", "table.md", "table.tex", "table.csv", "table.html")
"""What collating writes into a study's folder; nothing else but runs belongs there."""


@dataclass(frozen=True)
class LeftOut:
    """A folder or file that is not in the frame.

    Attributes:
        path: relative to the folder of runs.
        reason: in one line.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Source:
    """One run before it is put into a frame, wherever it comes from.

    Attributes:
        run: `<study>/<label>-<config id>/seed<k>`.
        status: how it stands.
        config: its frozen config, flat and in pieces (`daair.report.flat.read_flat`), with `choices.<group>`.
        environment: contents of environment.json, or {}.
        summary: contents of summary.json (`Record.summarise`), or {}.
        results: text of results.csv, or None if it has none.
    """

    run: str
    status: Status
    config: tuple[Piece, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    results: bytes | None = None


@dataclass(frozen=True)
class Collated:
    """Runs, read.

    Attributes:
        runs: a row per run: `FACTS`, group choices, config keys.
        images: a row per run, benchmark, protocol and image: the columns of results.csv, and `run`.
        left_out: what could not be read, or does not belong there.
    """

    runs: pd.DataFrame
    images: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """All of it as one tidy frame, see the module's text."""
        return self.part(self.runs.index)

    def part(self, rows: pd.Index) -> pd.DataFrame:
        """Return the tidy frame of some rows of `runs`."""
        some = self.runs.loc[rows]
        # Both tables are sorted by run, and `run` has the same categories: a merge by position, without a hash table.
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
        runs: the folder of runs (`paths.runs`).
        study: name of one study; None = all.

    Raises:
        UserError: there is no run; the text says what there is instead.
    """
    runs, left_out = Path(runs), []
    names = [study] if study is not None else store.studies(runs)
    sources = []
    for name in names:
        left_out += _foreign(runs, name)
        for folder in store.run_folders(runs, name):
            try:
                sources.append(read(folder))
            except (UserError, ValueError, OSError) as error:
                left_out.append(LeftOut(folder.relative_to(runs).as_posix(), _reason(error, folder)))
    if not sources:
        raise UserError(_nothing(runs, study, left_out))
    collated = assemble(sources, left_out)
    if collated.runs.empty:
        raise UserError(_nothing(runs, study, list(collated.left_out)))
    return collated


def read_path(path: str | Path) -> Collated:
    """Read the folder of a study, or that of all studies.

    Raises:
        UserError: there is no run in either sense.
    """
    path = Path(path).resolve()
    if next(store.run_folders(path.parent, path.name), None) is not None:
        return frame(path.parent, path.name)
    return frame(path)


def read(folder: Path) -> Source:
    """Return one run from its folder.

    Raises:
        UserError, ValueError, OSError: a file is damaged or of another version.
    """
    record = Record(folder)
    run = "/".join(folder.parts[-3:])
    status = record.read_status()
    text = _contents(record, Record.config_file)
    if text is None:
        raise ValueError(f"has no {Record.config_file.name}")
    config = _named(Record.config_file, lambda: read_flat(text.decode()))
    if b"\nseed:" not in b"\n" + text and b"\nmodel:" in b"\n" + text:
        raise ValueError(f"{Record.config_file.name}: ends before the seed")
    return Source(run, status, config, record.environment(), record.summary(), _contents(record, Record.results_file))


def assemble(sources: Iterable[Source], left_out: Iterable[LeftOut] = ()) -> Collated:
    """Put runs into tables. Runs with results that cannot be read are left out as a whole.

    Args:
        sources: runs, from folders or from elsewhere.
        left_out: what was left out before.
    """
    sources = sorted(sources, key=lambda source: [store.natural(part) for part in source.run.split("/")])
    sources, twice = _once(sources)
    rows, damaged = results.parse([source.results for source in sources])
    left_out = (*left_out, *twice, *(LeftOut(sources[i].run, reason) for i, reason in damaged.items()))
    kept = [i for i in range(len(sources)) if i not in damaged]
    sources = [sources[i] for i in kept]
    order = [source.run for source in sources]
    rows["run"] = pd.Categorical.from_codes(np.searchsorted(kept, rows["run"]), categories=order)
    facts = [_facts(source) for source in sources]
    columns = {name: column([row[name] for row in facts]) for name in FACTS}
    for name, series in config_columns([source.config for source in sources]).items():
        columns.setdefault(name, series)  # `study`, `label` and `seed` are facts: as the folder says
    runs = pd.DataFrame(columns)
    runs["run"] = pd.Categorical(order, categories=order)
    return Collated(runs, rows, left_out)


def _once(sources: list[Source]) -> tuple[list[Source], list[LeftOut]]:
    """Without copies: of runs of the same study, config and seed the finished one that ended last."""
    best: dict[tuple[str, ...], Source] = {}
    for source in sorted(sources, key=lambda source: (source.status.state == "done", source.status.finished or "")):
        best[store.identity(source.run)] = source
    left_out = [
        LeftOut(source.run, f"has the config and seed of {kept.run}, which counts")
        for source in sources
        if (kept := best[store.identity(source.run)]) is not source
    ]
    return [source for source in sources if best[store.identity(source.run)] is source], left_out


def _facts(source: Source) -> dict[str, Any]:
    study, variant, seed = source.run.split("/")
    label, _, config_id = variant.rpartition("-")
    status, environment, summary = source.status, source.environment, source.summary
    return {
        "run": source.run, "study": study, "variant": variant, "label": label, "id": config_id,
        "seed": int(seed.removeprefix("seed")), "state": status.state, "attempt": status.attempt,
        "steps": status.steps, "started": status.started or None, "finished": status.finished or None,
        "commit": status.commit or _commit(environment), "hardware": _hardware(status, environment),
        "torch": (environment.get("packages") or {}).get("torch"),
        **{name: summary.get(name) for name in ("parameters", "macs", "images_per_second", "seconds", "training_data")},
    }  # fmt: skip


def _commit(environment: Mapping[str, Any]) -> str | None:
    git = environment.get("git") or {}
    return f"{git['commit']}{'+' if git.get('dirty') else ''}" if git.get("commit") else None


def _hardware(status: Status, environment: Mapping[str, Any]) -> str | None:
    gpus = environment.get("gpus") or []
    if status.device and status.device != "cpu":
        return status.device
    if gpus and not status.device:
        return gpus[0] if len(gpus) == 1 else f"{len(gpus)} x {gpus[0]}"
    return environment.get("processor")


def _foreign(runs: Path, study: str) -> Iterator[LeftOut]:
    """Yield what lies in a study's folder and is neither a run nor an output."""
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


def _named(file: Place, read: Callable[[], Any]) -> Any:
    """Return what `read` returns; an error about the contents begins with the file's name."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None


def _reason(error: Exception, folder: Path) -> str:
    return one_line(error).replace(f"{folder}{os.sep}", "")


def _nothing(runs: Path, study: str | None, left_out: list[LeftOut]) -> str:
    """Return what to say where there is no run."""
    if left_out:
        return f"{runs / (study or '')}: no run can be read; {left_out[0]}"
    known = store.studies(runs)
    if study is None or not known:
        return f"{runs}: no runs there yet; start one with python run.py study=NAME"
    near = nearest(study, known)
    hint = f"did you mean study={near}?" if near else f"studies with runs: {', '.join(known)}"
    return f"study={study} has no runs in {runs}; {hint}"

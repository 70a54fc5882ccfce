"""Rows of networks that a study did not train: weights of somebody else, or of a run, measured beside the study's own.

    <paths.runs>/<study>/<label>-<id>/weights/     files as in a run's folder (`daair.runs.record`)

The id is that of the weights and the network: the same file evaluated again goes on with its record, under whatever
label. A benchmark counts as measured if its rows are there and were made with the same settings; others are measured,
each kept before the next begins. What collation knows such a record by is in its summary.json:

| key | meaning |
| --- | --- |
| origin | one of `ORIGINS` |
| label | name of the row |
| weights_file, weights_digest | name of the file and its SHA-256; empty for a method without weights |
| weights_notes | what the loader said |
| measured | by benchmark: its settings (see `_settings`), and the commit and device that measured it |
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from daair import checkpoint, components
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.config.validate import benchmarks_of
from daair.data.benchmarks import Item, load_benchmark
from daair.engine.costs import costs
from daair.engine.devices import describe
from daair.engine.evaluate import measure_and_keep, not_measured, note_lost_before
from daair.engine.progress import Reporter
from daair.engine.setup import Session
from daair.engine.unmeasured import unmeasured
from daair.errors import UserError, reason
from daair.files import file_digest, replacing, safe_name
from daair.runs import store
from daair.runs.environment import environment, git_diff
from daair.runs.record import Record

PUBLISHED, OF_A_RUN, NONE = ORIGINS = ("published weights", "weights of a run", "no weights")
"""Whose weights a network has: a file's, those of a run of this program, or it needs none."""

DESCRIBES = ("study", "question", "checkpoint", "benchmarks", "protocols", "metrics", "evaluate", "device", "trust")
"""Keys of the config that tell how the network was measured. Those of a training would be of a training never made."""


@dataclass(frozen=True)
class Weights:
    """The network of a row.

    Attributes:
        origin: One of `ORIGINS`.
        name: What the row is called when the command gives no label.
        file: Name of the weights file; empty without one.
        digest: Its SHA-256 in hexadecimal; empty without one.
        config: The keys of a frozen config that describe the network: `model`, its parts, `choices`.
    """

    origin: str
    name: str
    file: str
    digest: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: Config) -> "Weights":
        """Return what `checkpoint` and `model` of the task's config name."""
        frozen = cfg.to_dict()
        own = {key: frozen[key] for key in ("model", *cfg.parts)}
        own["choices"] = {key: value for key, value in cfg.choices.items() if key in own}
        if cfg.checkpoint is None:
            return cls(NONE, cfg.choices.get("model", "custom"), "", "", own)
        file = checkpoint.find_weights(cfg.checkpoint)
        digest = file_digest(file, 64)
        if components.is_foreign(cfg.model) or not checkpoint.describes_network(cfg.checkpoint):
            return cls(PUBLISHED, file.stem, file.name, digest, own)
        run, described = Record(file.parent), json.loads((file.parent / "model.json").read_text())
        own, name = {"model": described["model"]}, file.parent.name
        if run.config_file.is_file():
            frozen, name = run.config(), "-".join(run.folder.resolve().parts[-2:])
            own |= {key: frozen[key] for key in described["model"] if key in frozen}  # such as its router
            own["choices"] = {key: value for key, value in (frozen.get("choices") or {}).items() if key in own}
        return cls(OF_A_RUN, name, file.name, digest, own)

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name the weights and the network."""
        text = json.dumps([self.digest, self.config["model"]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def folder(self, cfg: Config) -> Path:
        """Return the folder of the record: that which the study has for them already, under whatever label."""
        known = store.find_variant(cfg.paths.runs, cfg.study, self.id)
        name = known or f"{safe_name(cfg.label or self.name)}-{self.id}"
        return Path(cfg.paths.runs, safe_name(cfg.study), name, store.EVALUATED_FOLDER)


def measure_row(
    job: Job,
    model: nn.Module,
    items: Sequence[Item],
    notes: Sequence[str],
    accelerator: Accelerator,
    reporter: Reporter,
) -> tuple[Record, pd.DataFrame | None, list[str]]:
    """Measure a network on what its record lacks.

    Args:
        job: Of task=evaluate, with a study.
        model: The network, in evaluation mode.
        items: Images of the benchmarks.
        notes: What the loader said of the weights.
        accelerator: The device and the processes.
        reporter: Says how it goes.

    Returns:
        The record; to the main process, the benchmarks' rows; and a line for each image that could not be measured.

    Raises:
        Busy: Another process writes the record.
        UserError: See `daair.engine.measure.measure`.
    """
    cfg, weights = job.config, Weights.of(job.config)
    record = Record(weights.folder(cfg), writer=accelerator.is_main_process)
    session = Session(cfg, record, accelerator, reporter)
    settings = {name: _settings(cfg, name) for name in dict.fromkeys(item.benchmark for item in items)}
    with record.lock():
        # The main process tells what is missing: the others might look when it has begun to write.
        (lacking,) = gather_object([_lacking(record, cfg, settings)] if record.writer else [])
        if already := [name for name in settings if name not in lacking]:
            reporter.say(f"measured before, not again: {', '.join(already)}")
        label = cfg.label or record.summary().get("label") or weights.name
        record.summarise(origin=weights.origin, label=label, weights_file=weights.file, weights_digest=weights.digest)
        if lacking:
            record.summarise(weights_notes=list(notes), **costs(model))
            frozen, step = cfg.to_dict(), getattr(model, "step", None) or 0  # 0: not known
            config = {**{key: frozen[key] for key in DESCRIBES}, **weights.config, "seed": None}
            device = describe(accelerator.device, accelerator.num_processes)
            record.start(config, environment(config), git_diff(), step, device, job.overrides)
            _note_settings(record, {name: settings[name] for name in lacking}, reporter)
            missing = [item for item in items if item.benchmark in lacking]
            _measure(model, missing, session)
        note_lost_before(session, [one for one in benchmarks_of(cfg) if one.name in already])
        if lacking:
            record.update(state="done", step=step, message=not_measured(session.lost))
        stored = record.results() if record.writer else None  # else main may not have written it yet
    return record, None if stored is None else stored[stored["benchmark"].isin(settings)], session.lost


def _note_settings(record: Record, settings: Mapping[str, Mapping[str, Any]], reporter: Reporter) -> None:
    """Note with which settings benchmarks are going to be measured; delete their rows of other settings before.

    In this order a process that is killed at any time leaves no row with settings that are not its own.
    """
    if not record.writer:
        return
    stored, status, measured = record.results(), record.status(), record.summary().get("measured", {})
    stale = [name for name in settings if measured.get(name, {}).get("settings", settings[name]) != settings[name]]
    if stale and stored is not None:
        reporter.say(f"measured with other settings before, now again: {', '.join(stale)}")
        with replacing(record.results_file) as temporary:
            stored[~stored["benchmark"].isin(stale)].to_csv(temporary, index=False)
    by = {"commit": status.commit, "device": status.device}
    record.summarise(measured={**measured, **{name: {"settings": own, **by} for name, own in settings.items()}})


def _measure(model: nn.Module, items: Sequence[Item], session: Session) -> None:
    """Measure images and add their rows to the record; note why it ended if it ended too soon."""
    try:
        for _ in measure_and_keep(model, items, session):
            pass
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(UserError, OSError):
            session.record.update(state=state, message=reason(error))
        raise


def _settings(cfg: Config, benchmark: str) -> dict[str, Any]:
    """Return what the rows of a benchmark depend on, beside the network and the images."""
    definition = (cfg.to_dict()["benchmarks"] or {}).get(benchmark) or {}
    given = {key: value for key, value in definition.items() if value is not None}
    return {"tile": cfg.evaluate.tile, "overlap": cfg.evaluate.overlap, "definition": given}


def _lacking(record: Record, cfg: Config, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the benchmarks that have not been measured with these settings, protocols and metrics on these images."""
    measured = record.summary().get("measured", {})
    changed = {name for name in settings if measured.get(name, {}).get("settings") != settings[name]}
    others = [one for one in benchmarks_of(cfg) if one.name in settings and one.name not in changed]
    lacking = changed | {one.name for one in unmeasured(cfg, record, others, None)}
    rows = record.results()
    for one in others if rows is not None else ():  # rows of an image that has been removed since
        images = {item.name for item in load_benchmark(one, cfg.mix.get("root"))}
        if not set(rows.loc[rows["benchmark"] == one.name, "image"].astype(str)) <= images:
            lacking.add(one.name)
    return [name for name in settings if name in lacking]

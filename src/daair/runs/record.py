"""A run's folder, which holds everything that is stored of a run. Only this module knows the names of its files.

    <paths.runs>/<study>/<label>-<config id>/seed<k>/
        config.yaml          the frozen config; overrides.yaml: the overrides of the user
        status.json          state, attempt, and the process that works on the run (see `Status`)
        slurm.json           number of the run's Slurm job, if it was submitted to Slurm
        output.log           output of the run's processes in all attempts, if a launcher started them
        environment.json     commit, machine and versions of the latest attempt; changes.patch if the tree was dirty
        summary.json         parameters, MACs, speed (see `Record.summarise`)
        data.json            training data of each degradation, with sizes and sources; files that were left out
        metrics.jsonl        one JSON object per line: {"step": ..., "time": ..., name: value, ...}
        results.csv          one row per benchmark, protocol and image (engine/evaluate.py)
        model.safetensors    averaged weights for use; model.json: their config
        best/                the same of the best validation, with `train.best`
        checkpoints/         step-<n>/: everything that is needed to resume
        samples/             pictures: input | restored | clean, see `samples`: <benchmark>/{shown,*_gain}.png
        wandb/, tensorboard/ files of these mirrors, if they are on

All files are written under a temporary name and then renamed, except metrics.jsonl, to which whole lines are appended
and flushed. Readers ignore a last line that is incomplete.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import yaml
from filelock import FileLock, Timeout

from daair.errors import UserError, first_line, reason
from daair.files import safe_name, write_text
from daair.runs import jsonl
from daair.runs.environment import commit_name

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1  # version of status.json, to be raised if a field changes its meaning
State = Literal["queued", "running", "done", "failed", "interrupted"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Status:
    """The contents of status.json.

    Attributes:
        state: State of the run; it is `done` only after the results are written.
        attempt: Number of times that the run was started.
        step, steps: Number of optimizer updates so far and in total.
        host, pid: Machine and main process of the latest attempt.
        queued, started, updated, finished: ISO times in UTC at which the run was queued, its latest attempt began, this
            file was written, and the run was done; empty if this has not happened.
        commit: Commit of the source tree in the latest attempt, with a `+` if it had changes; empty outside a checkout.
        device: Device, such as `cpu` or `2 x NVIDIA H100`.
        message: Reason why the run failed or stopped, also one that stopped early and is done; empty otherwise.
        measured, images: Number of test images that the evaluation has measured so far, and that it has to; 0 before.
        schema: Version of this file.
    """

    state: State = "queued"
    attempt: int = 0
    step: int = 0
    steps: int = 0
    host: str = ""
    pid: int = 0
    started: str = ""
    updated: str = ""
    queued: str = ""
    finished: str = ""
    commit: str = ""
    device: str = ""
    message: str = ""
    measured: int = 0
    images: int = 0
    schema: int = SCHEMA


FIELDS = asdict(Status())


class DamagedRecord(UserError):
    """Error for a file of a run's folder that is incomplete or has invalid contents."""


class Busy(UserError):
    """Error for a run that another process is working on."""


class Place:
    """A descriptor of a file or folder in a run's folder, which gives its path as an attribute of a record."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, record: None, owner: type) -> "Place": ...
    @overload
    def __get__(self, record: "Record", owner: type) -> Path: ...
    def __get__(self, record: "Record | None", owner: type) -> "Place | Path":
        return self if record is None else record.folder / self.name


class Record:
    """A reader and writer of a run's folder. A writer must hold `lock()`; a reader needs no lock.

    Methods that read JSON files or the config raise a `DamagedRecord` if a file is damaged, except `status` and `job`.

    Args:
        folder: The run's folder, which need not exist yet.
        writer: Whether to write; if False, as for all but the main process of a run, methods that write do nothing.
    """

    config_file = Place("config.yaml")
    overrides_file = Place("overrides.yaml")
    status_file = Place("status.json")
    environment_file = Place("environment.json")
    summary_file = Place("summary.json")
    data_file = Place("data.json")
    job_file = Place("slurm.json")
    changes_file = Place("changes.patch")
    log_file = Place("output.log")
    metrics_file = Place("metrics.jsonl")
    results_file = Place("results.csv")
    weights_file = Place("model.safetensors")
    best = Place("best")
    checkpoints = Place("checkpoints")
    samples = Place("samples")

    def __init__(self, folder: str | Path, writer: bool = True) -> None:
        self.folder, self.writer = Path(folder), writer

    @property
    def root(self) -> Path:
        """The folder of all runs, `paths.runs`."""
        return self.folder.parents[2]

    @property
    def collated(self) -> list[Path]:
        """The existing files that collation and its figures read, which do not include weights."""
        facts = (self.config_file, self.overrides_file, self.status_file, self.environment_file, self.summary_file)
        files = (*facts, self.data_file, self.results_file, self.metrics_file)
        return [file for file in files if file.is_file()] + sorted(self.samples.glob("*/*.png"))

    def contents(self, place: Place) -> bytes:
        """Return the bytes of a file, as in `record.contents(Record.results_file)`; twice as fast as `Path.read_bytes`.

        Raises:
            OSError: The file does not exist or cannot be read.
        """
        with open(f"{self.folder}/{place.name}", "rb", buffering=0) as file:
            return file.read()

    def _object(self, place: Place, otherwise: str = "is not a JSON object") -> dict[str, Any]:
        """Return the JSON object in a file; {} if the file does not exist."""
        try:
            stored = json.loads(self.contents(place))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DamagedRecord(f"{self.folder / place.name}: cannot be read ({error})") from error
        if not isinstance(stored, dict):
            raise DamagedRecord(f"{self.folder / place.name}: {otherwise}")
        return stored

    def _write(self, place: Place, text: str) -> None:
        if self.writer:
            write_text(self.folder / place.name, text)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder; the operating system releases the lock if the process is killed.

        Raises:
            Busy: Another process holds the lock; the message names it.
            UserError: The disk has no locks.
        """
        if not self.writer:
            yield
            return
        new = [place for place in (self.folder, *self.folder.parents) if not place.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            held = self.status()
            who = f"process {held.pid} on {held.host} (since {held.started})" if held.pid else "another process"
            remedy = "wait for it or stop it, then give the same command again"
            raise Busy(f"{self.folder} is being written by {who}; {remedy}") from None
        except (OSError, NotImplementedError) as error:
            raise UserError(f"{self.folder}: cannot be locked: {reason(error)}; runs need a disk with locks") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # nothing was written: no folder is left
                if os.listdir(self.folder) == [".lock"]:
                    (self.folder / ".lock").unlink()
            lock.release()
            with contextlib.suppress(OSError):
                for place in new:
                    place.rmdir()

    def queue(self, config: Mapping[str, Any], steps: int, overrides: Sequence[str] | None = None) -> None:
        """Write the config and its overrides, and mark the run as queued; other files of earlier attempts are kept.

        Args:
            config: The config, all keys.
            steps: Number of updates; 0 if the run will find it out, which keeps what an earlier attempt has found.
            overrides: The overrides of the user.
        """
        self.freeze(config, overrides)
        if self.writer:
            self.job_file.unlink(missing_ok=True)
        self.update(state="queued", queued=_now(), steps=steps or self.status().steps, message="")

    def hand_over(self, job: str) -> None:
        """Store the number of the run's Slurm job, not in status.json, because the job may be writing that."""
        self._write(Record.job_file, json.dumps({"job": job, "submitted": _now()}) + "\n")

    def job(self) -> str | None:
        """Return the number of the latest Slurm job of the run; None if there is none."""
        with contextlib.suppress(DamagedRecord):
            return self._object(Record.job_file).get("job")
        return None

    def start(
        self,
        config: Mapping[str, Any],
        environment: Mapping[str, Any],
        changes: str,
        steps: int,
        device: str = "",
        overrides: Sequence[str] | None = None,
    ) -> None:
        """Write the config and the environment, mark the run as running, and count the attempt."""
        self.freeze(config, overrides)
        self._write(Record.environment_file, json.dumps(environment, indent=2))
        if changes:
            self._write(Record.changes_file, changes)
        elif self.writer:
            self.changes_file.unlink(missing_ok=True)
        attempt = {"state": "running", "attempt": self.status().attempt + 1, "started": _now(), "finished": ""}
        worker = {"host": socket.gethostname(), "pid": os.getpid(), "device": device, "measured": 0, "images": 0}
        self.update(**attempt, **worker, commit=commit_name(environment.get("git")), steps=steps, message="")

    def status(self) -> Status:
        """Return the contents of status.json, or a new `Status` if the file is missing or damaged.

        Raises:
            UserError: A newer version of the program wrote the file.
        """
        with contextlib.suppress(DamagedRecord):
            return self.read_status()
        return Status()

    def read_status(self) -> Status:
        """Return the contents of status.json, with defaults for missing fields, or a new `Status` if it is missing.

        Raises:
            DamagedRecord: The file is incomplete or holds no status.
            UserError: A newer version of the program wrote the file.
        """
        stored = self._object(Record.status_file, "holds no status")
        return _parse_status(stored, self.status_file) if stored or self.status_file.exists() else Status()

    def update(self, **fields: Any) -> None:
        """Change fields of status.json."""
        if fields.get("state") == "done":
            fields = {"finished": _now(), **fields}
        status = replace(self.status(), updated=_now(), schema=SCHEMA, **fields)
        self._write(Record.status_file, json.dumps(asdict(status), indent=2) + "\n")

    def note(self, state: State, message: str) -> None:
        """Store the end of a run that could not do so itself.

        Nothing is stored if the run is locked or done, which another process may have seen to, or if the disk is full.
        """
        with contextlib.suppress(UserError, OSError), self.lock():
            if self.status().state != "done":
                self.update(state=state, message=message)

    def freeze(self, config: Mapping[str, Any], overrides: Sequence[str] | None) -> None:
        """Write the config and, unless they are None, the user's overrides."""
        self._write(Record.config_file, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        if overrides is not None:
            self._write(Record.overrides_file, yaml.safe_dump(list(overrides), allow_unicode=True))

    def freeze_measuring(self, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Write the config of a command that measures a finished run; the options of its training stay as they were."""
        with contextlib.suppress(UserError):  # of a damaged config nothing can be kept
            config = {**config, "train": self.config().get("train", config["train"])}
        self.freeze(config, overrides)

    def config(self) -> dict[str, Any]:
        """Return the frozen config; raise a UserError if the folder holds none or a damaged one."""
        if not self.config_file.is_file():
            raise UserError(f"{self.folder} is not a run folder: it has no {self.config_file.name}")
        try:
            return dict(yaml.load(self.config_file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise DamagedRecord(f"{self.config_file}: cannot be read ({first_line(error)})") from None

    def overrides(self) -> list[str] | None:
        """Return the user's overrides of the config; None if none were stored."""
        try:
            stored = yaml.safe_load(self.overrides_file.read_text())
        except (FileNotFoundError, yaml.YAMLError):
            return None
        return stored if isinstance(stored, list) and all(isinstance(item, str) for item in stored) else None

    def environment(self) -> dict[str, Any]:
        """Return the environment of the latest attempt, see `daair.runs.environment`; {} if none was stored."""
        return self._object(Record.environment_file)

    def summarise(self, **values: Any) -> None:
        """Store numbers about the whole run, replacing earlier ones of the same names.

        Collation reads `parameters`; `macs`, the multiply-accumulate operations for a 224 x 224 image; `seconds` of the
        training loop, including validations and checkpoints; `stage_seconds` and `images_per_second`, of its last
        stage; `update_seconds`, of updates alone; `training_data`, a digest; `processes`, how many trained it last;
        `budget`, what a run with `train.budget` measured; `best`, the figure, value and step of the best validation,
        with `train.best`; `wandb`, the run's id there; `stopped_early`, one line on a run that ended early;
        `evaluation_seconds`, of the evaluation after the training, if that was done in one go. Of evaluated networks:
        `daair.engine.study_row`.
        """
        self._write(Record.summary_file, json.dumps(jsonl.finite({**self.summary(), **values}), indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """Return the numbers that `summarise` stored; {} if there are none."""
        return self._object(Record.summary_file)

    def note_data(self, summary: Mapping[str, Any]) -> None:
        """Store a description of the training data, see `daair.data.mix.Mix.summary`."""
        self._write(Record.data_file, json.dumps(summary, indent=1) + "\n")

    def data(self) -> dict[str, Any]:
        """Return the description that `note_data` stored; {} if there is none."""
        return self._object(Record.data_file)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line of metrics; NaN and infinity are written as null."""
        if self.writer:
            jsonl.append(self.metrics_file, {"step": step, "time": _now(), **values})

    def metrics(self) -> list[dict[str, Any]]:
        """Return all complete lines of metrics, oldest first."""
        return jsonl.read(self.metrics_file)

    def newest(self) -> Iterator[dict[str, Any]]:
        """Yield the last lines of metrics, the newest first; older ones than about 64 kB are left out."""
        yield from jsonl.newest(self.metrics_file)

    def results(self) -> "pd.DataFrame | None":
        """Return the rows of results.csv; None if the file does not exist.

        Raises:
            UserError: The file is damaged.
        """
        from daair.runs import results

        return results.load(self.results_file) if self.results_file.is_file() else None

    def sample_file(self, benchmark: str, which: str) -> Path:
        """Return the path of a benchmark's sample, see `daair.runs.samples.WHICH`."""
        return self.samples / safe_name(benchmark) / ("shown.png" if which == "shown" else f"{which}_gain.png")

    def rewind(self, step: int) -> None:
        """Delete the metrics after a step, which a resumed run will log again."""
        kept = [row for row in self.metrics() if row["step"] <= step]
        self._write(Record.metrics_file, "".join(json.dumps(row) + "\n" for row in kept))


def _parse_status(stored: Mapping[str, Any], file: Path) -> Status:
    schema = stored.get("schema", SCHEMA)
    if not isinstance(schema, int):
        raise DamagedRecord(f"{file}: schema: {schema!r} is not a number")
    if schema > SCHEMA:
        raise UserError(f"{file}: written by a newer version of DaAIR Lab (schema {schema}, this one knows {SCHEMA})")
    known = {name: stored[name] for name in FIELDS if name in stored}
    for name, value in known.items():
        if type(value) is not type(FIELDS[name]):
            raise DamagedRecord(f"{file}: {name}: {value!r} is not of type {type(FIELDS[name]).__name__}")
    if known.get("state") not in STATES:
        raise DamagedRecord(f"{file}: state: {known.get('state')!r} is not one of {', '.join(STATES)}")
    return Status(**known)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

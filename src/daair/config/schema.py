"""The schema of all fixed keys of a config, and the checked config itself.

A component is a node with `_target_`. It is a plain dictionary here, since its schema is the signature of its target
(`daair.config.signatures`). This module gives types and ranges; the comments in conf/ explain the keys. `not_identity`
marks keys that cannot change a trained network and are therefore left out of the config id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from daair.config import accepted
from daair.config.base import Int, Node, Positive, Section, ShownMetric, Text
from daair.config.problems import UNKNOWN, ConfigError, Problem, from_pydantic
from daair.config.table_look import TableLook, Values
from daair.metrics import METRICS


def not_identity(default: Any = ...) -> Any:
    """Return a field whose value cannot change a trained network."""
    return Field(default, json_schema_extra={"identity": False})


VALIDATION = ("val", "val_patch", "val_crops")
"""Keys of the mix that choose the validation images, which decide nothing but with `train.stop_after`."""

NOT_IDENTITY = {"mix": ("name", "root", "benchmarks", *VALIDATION, "cache", "cache_gb", "on_bad_file")}
"""Keys of components that cannot change a trained network: names, folders, caches, validation and test images."""


MeasuredMetric = Literal[tuple(name for name, metric in METRICS.items() if not metric.derive)]


class Component(TypedDict):
    """A node with `_target_`; `daair.config.signatures` checks its other keys."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    _target_: str


Box = tuple[Annotated[Int, Ge(0)], Annotated[Int, Ge(0)], Annotated[Int, Ge(8)]]
"""A square of an image: its left and top pixel, and its side in pixels."""


class Phase(Section):
    """An entry of `train.progressive`: a part of the updates with crops and batches of their own size."""

    share: Annotated[float, Gt(0), Le(1)]
    patch: Annotated[Int, Ge(8)] | None = None
    batch_size: Positive | None = None


class Train(Section):
    """Options of the training loop (conf/train)."""

    steps: Annotated[Int, Ge(1), Le(10**9)] | None
    epochs: Annotated[float, Gt(0)] | None = None
    budget: Annotated[str, BeforeValidator(accepted.time_of)] | None
    progressive: tuple[Phase, ...]
    batch_size: Positive
    accumulation: Positive
    clip_grad: Annotated[float, Gt(0)] | None
    precision: Annotated[Literal["no", "bf16"], BeforeValidator(accepted.no)]
    ema_decay: Annotated[float, Ge(0), Lt(1)]
    checkpoint_every: Positive = not_identity()
    keep: Positive = not_identity()
    keep_every: Positive | None = not_identity(None)
    best: Annotated[str, BeforeValidator(accepted.figure)] | None = not_identity(None)
    stop_after: Positive | None = None
    validate_every: Positive | None = not_identity()
    log_every: Positive = not_identity()
    workers: Annotated[Int, Ge(0)] = not_identity()
    threads: Positive | None = not_identity()
    compile: bool
    channels_last: Literal["auto"] | bool
    tf32: bool
    init: Text | None
    init_strict: bool
    freeze: tuple[Text, ...]


class Logger(Section):
    """Options of the copies of a run's record in Weights & Biases and TensorBoard (conf/logger)."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    project: Annotated[Text, MaxLen(128), AfterValidator(accepted.project)] = "daair"
    entity: Text | None = None
    tags: Annotated[tuple[Text, ...], BeforeValidator(accepted.listed)] = ()
    notes: Text | None = None
    tensorboard: bool = False
    images: bool


class Paths(Section):
    """Folders for results."""

    runs: Text


class Slurm(Section):
    """Resources that each run requests from Slurm, and how the sweep waits for it."""

    partition: Text | None
    account: Text | None
    qos: Text | None
    time: Positive
    memory: Annotated[float, Gt(0)] | None
    cpus: Positive | None
    gpus: Annotated[Int, Ge(0)] | None
    notice: Positive
    max_timeouts: Annotated[Int, Ge(0)]
    parallel: Positive
    poll: Annotated[float, Gt(0)]
    setup: tuple[str, ...]
    parameters: Node


class Launch(Section):
    """Options of the launchers."""

    nodes: Positive
    num_processes: Positive
    order: Values | None = None
    devices: Annotated[tuple[Annotated[Int, Ge(0)] | Annotated[str, MinLen(1)], ...], MinLen(1)] | None
    assume_devices: Positive | None = None
    runs_per_device: Positive
    slots: Positive | None
    warm: bool
    rerun: Literal["failed", "all", "none"]
    retries: Annotated[Int, Ge(0)]
    timeout: Annotated[float, Gt(0)] | None
    grace: Annotated[float, Gt(0)]
    group_timeout: Annotated[float, Gt(0)]
    dry_run: bool
    objective: Text
    wait: bool
    slurm: Slurm

    @property
    def world_size(self) -> int:
        """The number of processes of a run on all its machines."""
        return self.nodes * self.num_processes


class Restore(Section):
    """Options of task=restore."""

    tile: Literal["auto"] | Annotated[Int, Ge(32), MultipleOf(8)] | None
    overlap: Annotated[Int, Ge(0)]
    degradation: Text | None
    max_megapixels: Annotated[float, Gt(0)]


class StatusView(Section):
    """Options of task=status."""

    rows: Positive | None


class ReportView(Section):
    """Options of task=report."""

    every: Annotated[float, Gt(0)] | None


class Evaluate(Section):
    """Options of evaluations; protocols and metrics are root keys."""

    tile: Literal["auto"] | Annotated[Int, Ge(32), MultipleOf(8)] | None
    overlap: Annotated[Int, Ge(0)]
    memory: Annotated[float, Gt(0), Le(1)]
    workers: Positive
    pictures: Annotated[Int, Ge(0)]
    shown: dict[Text, Text] | None = None


class Preview(Section):
    """Options of task=preview."""

    degradations: Literal["all"] | Annotated[tuple[Text, ...], MinLen(1)] | None
    draws: Annotated[Int, Ge(3), Le(10_000)]
    size: Annotated[Int, Ge(16)] | None


class Collate(Section):
    """Options of task=collate; their values in a study's file are frozen into its runs."""

    source: Literal["folders", "wandb", "both"]
    project: Text | None
    rows: Annotated[tuple[Text, ...], MinLen(1)] | None
    columns: Annotated[tuple[Text, ...], MinLen(1)] | None
    metrics: Annotated[tuple[ShownMetric, ...], MinLen(1)] | None
    reference: Node | None
    published: tuple[Text, ...] | None
    crops: Annotated[dict[Text, Annotated[tuple[Box, ...], MinLen(1)]] | None, BeforeValidator(accepted.boxes)] = None
    table: TableLook
    tables: Text | None
    name: Text | None
    format: Annotated[tuple[Literal["md", "tex", "csv", "html"], ...], MinLen(1)]
    alpha: Annotated[float, Gt(0), Lt(1)]
    resamples: Annotated[Int, Ge(100), Le(10**7)]
    figures: Literal["answer", "all"]
    output: Text | None
    every: Annotated[float, Gt(0)] | None = None


class Profile(Section):
    """Options of task=profile."""

    models: Annotated[tuple[Text, ...], MinLen(1)]
    size: Annotated[Int, Ge(16)]
    batch_size: Positive
    train_size: Annotated[Int, Ge(16)] | None
    train_batch_size: Positive
    repeats: Positive
    output: Text | None


class BenchmarkDefinition(Section):
    """One entry of `benchmarks`: empty for the built-in benchmark of that name, else a definition by the user."""

    input: Text | None = None
    target: Text | None = None
    rule: Text | None = None
    degrade: Text | Node | None = None
    protocol: Text | None = None
    label: Text | None = None


class Config(Section):
    """A checked, fully resolved config; components are plain dictionaries.

    The network's parts are extra root keys, those that the model's config interpolates, as in `router: ${router}`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Component]

    task: Component = not_identity()
    model: Component
    mix: Component
    loss: Component
    optimizer: Component
    schedule: Component
    train: Train
    logger: Logger = not_identity()
    seed: Annotated[Int, Ge(0), Lt(2**32)] = not_identity()
    study: Annotated[Text | Annotated[tuple[Text, ...], MinLen(1)] | None, BeforeValidator(accepted.studies)] = (
        not_identity()
    )
    question: Text | None = not_identity()
    label: Text | None = not_identity()
    checkpoint: Text | None = not_identity()
    input: Text | Annotated[tuple[Text, ...], MinLen(1)] | None = not_identity()
    output: Text | None = not_identity()
    runs: Annotated[tuple[Text, ...], MinLen(2), MaxLen(26)] | None = not_identity()
    where: Text | None = not_identity()
    action: Literal["list", "archive", "delete", "rerun", "label"] | None = not_identity()
    ask: bool = not_identity()
    benchmarks: Annotated[dict[str, BenchmarkDefinition] | None, BeforeValidator(accepted.by_name)] = not_identity()
    testsets: dict[str, Text] = not_identity()
    protocols: Annotated[tuple[Text, ...], MinLen(1)] | None = not_identity()
    metrics: tuple[MeasuredMetric, ...] = not_identity()
    device: Literal["auto", "cpu", "cuda"] = not_identity()
    trust: tuple[Text, ...] = not_identity(())
    paths: Paths = not_identity()
    launch: Launch = not_identity()
    evaluate: Evaluate = not_identity()
    restore: Restore = not_identity()
    preview: Preview = not_identity()
    profile: Profile = not_identity()
    status: StatusView = not_identity()
    report: ReportView = not_identity()
    collate: Collate = not_identity()
    choices: dict[str, str] = Field(default_factory=dict, json_schema_extra={"identity": False})
    """The option chosen from each config group, e.g. {"model": "daair_tiny"}; not a key of conf/."""

    @property
    def parts(self) -> dict[str, Node]:
        """The parts of the network by root key, such as `router`; they are also arguments of `model`."""
        return dict(self.model_extra or {})

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies that `study` names: one, or several for a task that takes them; empty = all."""
        return (self.study,) if isinstance(self.study, str) else self.study or ()

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON types; equal values that were written differently give equal results.

        Do not sort its keys when writing it: the order of `mix.tasks` numbers the labels.
        """
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """Return the config from the output of `to_dict`, e.g. a run's frozen config.

        Raises:
            ConfigError: `data` does not describe a config of this version.
        """
        return parse(cls, dict(data))


def parse(schema: type[Config], data: dict[str, Any]) -> Config:
    """Check `data` against the schema; of types, only lists become tuples and integers floats.

    Raises:
        ConfigError: `data` does not fit the schema; the error holds all problems.
    """
    model = data.get("model")
    parts = [value for value in model.values() if isinstance(value, Mapping)] if isinstance(model, Mapping) else []
    unknown = [key for key in data if key not in schema.model_fields and data[key] not in parts]
    problems = [Problem(key, UNKNOWN) for key in unknown]
    try:
        config = schema.model_validate_json(json.dumps({key: data[key] for key in data if key not in unknown}))
    except ValidationError as error:
        raise ConfigError(from_pydantic(error.errors(include_url=False), data) + problems) from None
    if problems:
        raise ConfigError(problems)
    return config


def names_config(key: str) -> bool:
    """Return whether a dotted key is part of a config's identity: whether its value can change a trained network."""
    first, *rest = key.split(".")
    if rest and rest[0] in NOT_IDENTITY.get(first, ()):
        return False
    section: Any = Config
    for part in (first, *rest):
        field = section.model_fields.get(part) if _is_section(section) else None
        if field is None:
            return True
        if not (field.json_schema_extra or {}).get("identity", True):
            return False
        section = field.annotation
    return True


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def known_keys(schema: type[BaseModel] = Config, prefix: str = "") -> set[str]:
    """Return all dotted keys of the schema."""
    keys: set[str] = set()
    for name, field in schema.model_fields.items():
        if name == "choices":
            continue
        keys.add(prefix + name)
        if _is_section(field.annotation):
            keys |= known_keys(field.annotation, f"{prefix}{name}.")
    return keys

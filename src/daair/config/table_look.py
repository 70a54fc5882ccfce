"""The schema of `collate.table`, and of the named tables in a file; docs/tables.md explains the keys with examples.

A key that is null or absent has its default, the first value that its type lists if it lists several.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Le, MinLen
from pydantic import ValidationError

from daair.config.base import Int, Node, Section, ShownMetric, Text
from daair.config.problems import UNKNOWN, ConfigError, Problem, from_pydantic
from daair.errors import UserError, first_line, suggestion
from daair.metrics import METRICS

Decimals = Annotated[Int, Ge(0), Le(8)]
Values = dict[Text, Annotated[tuple[Any, ...], MinLen(1)]]
HIDDEN = (
    "notes", "spread", "stars", "delta", "average", "costs", "parameters", "macs", "images_per_second", "steps",
)  # fmt: skip


class TableLook(Section):
    """How a table shows its numbers.

    Attributes:
        caption: Text of the caption; default: the study's question.
        label: LaTeX label, after `tab:`; default: the study's name.
        environment: LaTeX environment around the tabular; `tabular` = none, without caption and notes.
        decimals: One number for all metrics, or numbers by metric; default: the metric's own.
        metrics_in: A block per metric, all metrics in a cell (`30.58/0.974`), or a column per metric.
        order: Values by key, such as a benchmark or an expert's rank; those that are listed come first.
        only: Values by key: rows and columns to show.
        groups: Key whose values make groups of rows, or names of rows by the group's title.
        best: The values among which best and second are marked: own = the study's, all = published ones too.
        hide: Parts to leave out; see `HIDDEN`.
        averages: Columns by the average's heading; default: one over all, where they can be compared.
        names: Headings by name of a benchmark, key, value or metric: a text, or `{text: ..., latex: ...}`. They go
            before those of conf/reference/names.yaml.
        siunitx: Whether LaTeX writes numbers as `\\num{...}`.
        subsets: Whether published values are shown, with a mark, where this study measured a part of the images.
    """

    caption: Text | None = None
    label: Text | None = None
    environment: Literal["table*", "table", "tabular"] | None = None
    decimals: Decimals | dict[ShownMetric, Decimals] | None = None
    metrics_in: Literal["blocks", "cells", "columns"] | None = None
    order: Values | None = None
    only: Values | None = None
    groups: Text | dict[Text, Annotated[tuple[Text, ...], MinLen(1)]] | None = None
    best: Literal["own", "all", "groups", "none"] | None = None
    hide: tuple[Literal[HIDDEN], ...] | None = None
    averages: dict[Text, Annotated[tuple[Text, ...], MinLen(1)]] | None = None
    names: dict[Text, Text | dict[Literal["text", "latex"], Text]] | None = None
    siunitx: bool | None = None
    subsets: bool | None = None

    def digits(self, metric: str) -> int:
        """Return the number of decimals of a metric."""
        given = self.decimals.get(metric) if isinstance(self.decimals, dict) else self.decimals
        return METRICS[metric].digits if given is None else given

    def hides(self, part: str) -> bool:
        """Return whether a part of the table is left out."""
        return part in (self.hide or ())


class NamedTable(TableLook):
    """An entry of a file of tables: the look, and contents in place of those of `collate` and the root keys."""

    rows: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    columns: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    metrics: Annotated[tuple[ShownMetric, ...], MinLen(1)] | None = None
    reference: Node | None = None
    published: tuple[Text, ...] | None = None
    benchmarks: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    protocols: Annotated[tuple[Text, ...], MinLen(1)] | None = None


def read_tables(file: Path) -> dict[str, NamedTable]:
    """Return the named tables of a YAML file.

    Raises:
        UserError: The file cannot be read or does not fit the schema; the message is one line.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is not YAML ({first_line(error)})") from None
    if not isinstance(found, dict) or not found or not all(isinstance(one or {}, dict) for one in found.values()):
        raise UserError(f"{file}: must name tables, such as main: {{decimals: 2}}")
    for name in found:
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"{file}: {name} names files, so it must consist of letters, digits, - and _")
    return {name: parse_table(one or {}, f"{file}: {name}") for name, one in found.items()}


def parse_table(given: dict[str, Any], where: str) -> NamedTable:
    """Return a table that is described by plain data.

    Raises:
        ConfigError: A key or value does not fit; the error holds all problems.
    """
    try:
        return NamedTable.model_validate_json(json.dumps(given, default=str))
    except ValidationError as error:
        problems = from_pydantic(error.errors(include_url=False), given, where)
    raise ConfigError([_with_hint(problem, where) for problem in problems])


def _with_hint(problem: Problem, where: str) -> Problem:
    if problem.text != UNKNOWN:
        return problem
    word = problem.key.removeprefix(f"{where}.")
    return Problem(problem.key, UNKNOWN + suggestion(word, NamedTable.model_fields))

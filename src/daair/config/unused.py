"""Refuse what a command sets although its task does not use it; the user would take it for done."""

from __future__ import annotations

from collections.abc import Sequence

from daair.config.problems import Problem
from daair.config.schema import Config, known_keys
from daair.config.validate import READS_RUNS

USED_BY = {
    "restore": ("restore",),
    "preview": ("preview",),
    "profile": ("profile", "export"),
    "status": ("status", "runs"),
    "report": ("report",),
    "collate": ("train", "collate", "compare"),
    "evaluate": ("train", "evaluate"),
    "metrics": ("train", "evaluate"),
}
"""The tasks that use a section; `combinations` has those of single root keys."""

TRAINING = ("model", "loss", "optimizer", "schedule", "train", "seed")
"""Root keys that tasks which only read runs do not use, as they do not use the parts of the network."""

SHOW_SOME = {
    "collate": "collate.table.only={{{key}: [...]}} shows some of the runs",
    "runs": 'where="{key}==..." chooses some of the runs',
}


def unused(config: Config, typed: Sequence[str]) -> list[Problem]:
    """Return the problems of keys that have no effect.

    Args:
        config: The command's config.
        typed: The dotted keys and groups that the user has set on the command line.
    """
    task, known, problems = str(config.task.get("name")), known_keys(), []
    for key in typed:
        root, _, rest = key.partition(".")
        if task not in USED_BY.get(root, (task,)):
            others = [f"{other}.{rest or root}" for other in USED_BY if task in USED_BY[other]]
            near = next((other for other in others if other in known), None)
            hint = f"; did you mean {near}?" if near else f"; it is for task={' and '.join(USED_BY[root])}"
            problems.append(Problem(key, f"unused by task={task}{hint}"))
        elif task in READS_RUNS and root in (*TRAINING, *config.parts):
            hint = f"; {SHOW_SOME[task].format(key=key)}" if task in SHOW_SOME else ""
            problems.append(Problem(key, f"unused by task={task}, which reads runs that are there{hint}"))
    return problems

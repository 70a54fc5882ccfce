"""Refuse what a command sets although its task does not use it; the user would take it for done."""

from __future__ import annotations

from collections.abc import Sequence

from daair.config.problems import Problem
from daair.config.schema import Config, known_keys
from daair.config.tasks import task_of, users

TRAINING = ("model", "loss", "optimizer", "schedule", "train", "seed")
"""Root keys that tasks which only read runs do not use, as they do not use the parts of the network."""


def unused(config: Config, typed: Sequence[str]) -> list[Problem]:
    """Return the problems of keys that have no effect.

    Args:
        config: The command's config.
        typed: The dotted keys and groups that the user has set on the command line.
    """
    task, known, problems = str(config.task.get("name")), known_keys(), []
    record = task_of(task)
    for key in typed:
        root, _, rest = key.partition(".")
        if (used_by := users(root)) and task not in used_by:
            others = [f"{section}.{rest or root}" for section in record.sections]
            near = next((other for other in others if other in known), None)
            hint = f"; did you mean {near}?" if near else f"; it is for task={' and '.join(used_by)}"
            problems.append(Problem(key, f"unused by task={task}{hint}"))
        elif record.reads_runs and root in (*TRAINING, *config.parts):
            hint = f"; {record.choose_runs.format(key=key)}" if record.choose_runs else ""
            problems.append(Problem(key, f"unused by task={task}, which reads runs that are there{hint}"))
        elif record.network_in_checkpoint and root in ("loss", "optimizer", "schedule"):
            problems.append(Problem(key, f"unused by task={task}, which does not train"))
    return problems

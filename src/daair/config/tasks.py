"""The tasks of the command line: a record for each says what its command may set, and what is checked before it starts.

Checks that a single task has (`profile.models`, `action=label`, ...) are where they are made, in
`daair.config.combinations` and `daair.config.jobs`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What a task reads, needs and writes.

    Attributes:
        takes: Root keys that it reads, of those that only single tasks read (`checkpoint`, `output`, ...); it refuses
            the others of them.
        needs: Those of `takes` without which it cannot start; for task=evaluate see `buildable.check_checkpoint`.
        sections: Sections of the config that it reads, of those that only single tasks read (`restore`, ...).
        reads_runs: Whether it deals with recorded runs and makes none, so that it is not swept and uses no network.
        several_studies: Whether `study` may be a list.
        study_optional: Whether `study` may be null.
        builds: Whether it may build the config's components, so that they are checked.
        measures: Whether it measures on the benchmarks, so that their images must be there.
        network_in_checkpoint: Whether a checkpoint that describes its network decides it, and not the command.
        writes_runs: Whether it may write into `paths.runs`, so that the place is checked.
        output_is_folder: Whether `output` must be a folder if it exists.
        choose_runs: A hint how to choose some of the recorded runs by a config key, in place of `{key}`; empty: none.
    """

    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    reads_runs: bool = False
    several_studies: bool = False
    study_optional: bool = False
    builds: bool = True
    measures: bool = False
    network_in_checkpoint: bool = False
    writes_runs: bool = True
    output_is_folder: bool = False
    choose_runs: str = ""


TASKS = {
    "train": Task(sections=("collate", "evaluate", "metrics"), measures=True),
    "evaluate": Task(
        takes=("checkpoint", "output"),
        sections=("evaluate", "metrics"),
        study_optional=True,
        measures=True,
        network_in_checkpoint=True,
        output_is_folder=True,
    ),
    "restore": Task(
        takes=("checkpoint", "input", "output"),
        needs=("input", "output"),
        sections=("restore",),
        network_in_checkpoint=True,
        writes_runs=False,
    ),
    "profile": Task(sections=("profile",)),
    "export": Task(
        takes=("checkpoint", "output"),
        needs=("checkpoint", "output"),
        sections=("profile",),
        network_in_checkpoint=True,
    ),
    "preview": Task(takes=("input", "output"), sections=("preview",)),
    "verify": Task(takes=("output",)),
    "collate": Task(
        sections=("collate",),
        reads_runs=True,
        several_studies=True,
        builds=False,
        choose_runs="collate.table.only={{{key}: [...]}} shows some of the runs",
    ),
    "status": Task(sections=("status",), reads_runs=True, study_optional=True, builds=False, writes_runs=False),
    "report": Task(sections=("report",), reads_runs=True, study_optional=True, builds=False),
    "doctor": Task(study_optional=True, builds=False, writes_runs=False),
    "compare": Task(
        takes=("runs", "output"),
        needs=("runs",),
        sections=("collate",),
        reads_runs=True,
        builds=False,
        output_is_folder=True,
    ),
    "runs": Task(
        takes=("where", "action"),
        sections=("status",),
        reads_runs=True,
        several_studies=True,
        study_optional=True,
        builds=False,
        choose_runs='where="{key}==..." chooses some of the runs',
    ),
}
"""The record of each task, by its name in `conf/task/`; messages list tasks in this order."""


def task_of(name: str | None) -> Task:
    """Return the record of a task; one of a plugin has none, and reads none of the keys of single tasks."""
    return TASKS.get(str(name), Task())


def readers(key: str) -> list[str]:
    """Return the tasks that read a root key which only single tasks read."""
    return [name for name, task in TASKS.items() if key in task.takes]


def users(section: str) -> list[str]:
    """Return the tasks that read a section which only single tasks read; empty for a section of all tasks."""
    return [name for name, task in TASKS.items() if section in task.sections]

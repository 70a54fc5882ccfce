"""Each task has a file in conf/ and a record, which names keys that exist."""

import pytest
from helpers import ROOT

from daair.config.schema import Config
from daair.config.tasks import TASKS, Task, readers, task_of, users


def test_each_task_has_a_file_and_a_record() -> None:
    assert set(TASKS) == {file.stem for file in (ROOT / "conf" / "task").glob("*.yaml")}


@pytest.mark.parametrize("name", TASKS)
def test_records_name_keys_that_exist(name: str) -> None:
    task = TASKS[name]
    assert {*task.takes, *task.sections} <= Config.model_fields.keys()
    assert {*task.needs} <= {*task.takes}


def test_readers_are_listed_in_the_order_of_the_table() -> None:
    assert readers("checkpoint") == ["evaluate", "restore", "export"]
    assert users("profile") == ["profile", "export"]
    assert users("model") == readers("model") == []


def test_a_task_of_a_plugin_reads_nothing_of_ours() -> None:
    assert task_of("mine") == task_of(None) == Task()

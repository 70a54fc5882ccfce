"""What a task does not use is refused where the user typed it."""

import pytest

from daair.config.jobs import Command
from daair.config.problems import ConfigError


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["task=evaluate", "model=identity", "benchmarks=[demo_rain]", "restore.tile=64"],
         "restore.tile: unused by task=evaluate; did you mean evaluate.tile?"),
        (["task=collate", "study=a", "metrics=[mae]"], "metrics: unused by task=collate; did you mean collate.metr"),
        (["task=collate", "study=a", "experts.rank=4"],
         "experts.rank: unused by task=collate, which reads runs that are there; "
         "collate.table.only={experts.rank: [...]} shows some of the runs"),
        (["task=runs", "study=a", "train.steps=4"],
         'train.steps: unused by task=runs, which reads runs that are there; where="train.steps==..." chooses'),
        (["task=status", "model=daair_tiny"], "model: unused by task=status, which reads runs that are there"),
        (["task=restore", "input=a", "output=b", "optimizer.lr=3"], "optimizer.lr: unused by task=restore, w"),
        (["task=evaluate", "checkpoint=a", "benchmarks=[demo_rain]", "loss=l1"], "loss: unused by task=evaluate, wh"),
        (["preview.size=64"], "preview.size: unused by task=train; it is for task=preview"),
    ],
    ids=str,
)  # fmt: skip
def test_what_has_no_effect_is_refused(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(Command.parse(words).jobs)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    "words",
    [
        ["task=collate", "study=rank", "mix.root=anywhere", "benchmarks=[rain100l]", "question=Why?"],
        ["task=evaluate", "model=identity", "benchmarks=[demo_rain]", "evaluate.tile=64", "metrics=[mae]"],
        ["collate.rows=[label]", "evaluate.pictures=0"],
        ["task=runs", "study=a", "status.rows=3"],
        ["launch.slurm.notice=300"],  # in a job of the user's own
    ],
    ids=str,
)
def test_what_is_used_is_taken(words: list[str]) -> None:
    assert Command.parse(words).jobs

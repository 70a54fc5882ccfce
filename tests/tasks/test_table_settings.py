"""What a table shows if the command, the file of named tables and the runs say different things."""

from pathlib import Path

import pytest
from helpers import composer
from synthetic import make_run, rows

from daair.config.table_look import NamedTable
from daair.config.validate import validate
from daair.report.frame import frame
from daair.tasks.table_settings import settings


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=collate", "study=rank"], (["router"], ["ssim"], ["rain100l"], 1)),
        (["task=collate", "study=rank", "collate.rows=[label]", "collate.table.decimals=4"],
         (["label"], ["ssim"], ["rain100l"], 4)),
        # At the end of a sweep the command's config is that of the study, which a table of the file goes over.
        (["experiment=rank", "mix=demo", "collate.metrics=[psnr]", "collate.table.decimals=4"],
         (["router"], ["ssim"], ["rain100l"], 1)),
    ],
    ids=["collate", "collate with options", "sweep"],
)  # fmt: skip
def test_who_decides(tmp_path: Path, words: list[str], expected: tuple) -> None:
    make_run(tmp_path, "rank4-00000004", 0, rows([30.0]), collate={"rows": ["experts.rank"], "table": {"decimals": 3}})
    table = NamedTable(rows=("router",), metrics=("ssim",), benchmarks=("rain100l",), decimals=1)
    asked = settings(validate(composer().compose(words)), frame(tmp_path, "rank"), tmp_path, table)
    assert (list(asked["rows"]), list(asked["metrics"]), asked["benchmarks"], asked["look"].decimals) == expected

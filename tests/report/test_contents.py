"""What is asked of a table: keys of rows and columns."""

import pytest

from daair.errors import UserError
from daair.report.contents import TableSpec, upright


def test_benchmarks_lie_down_with_the_default_columns():
    spec = TableSpec(rows=("benchmark",), columns=("benchmark",), metrics=("psnr",), reference=None)
    assert upright(spec)[1]


def test_a_key_of_runs_names_rows_or_columns():
    spec = TableSpec(rows=("experts.rank",), columns=("experts.rank",), metrics=("psnr",), reference=None)
    with pytest.raises(UserError, match="^collate.columns: experts.rank is in collate.rows too; a key names either"):
        upright(spec)

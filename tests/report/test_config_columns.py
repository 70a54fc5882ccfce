"""Columns of many configs: the same whether they are made of pieces or of every config's own values."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from daair.report.config_columns import column, config_columns

VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1e-8, "rank4", "rank16"])


def pieces(group: str) -> st.SearchStrategy[list[tuple]]:
    """Some pieces that configs may share, each with keys below `group`."""
    keys = st.sampled_from([f"{group}.x", f"{group}.y"])
    return st.lists(st.dictionaries(keys, VALUES).map(lambda found: tuple(found.items())), min_size=1, max_size=3)


@st.composite
def configs(draw: st.DrawFn) -> list[tuple]:
    pools = [draw(pieces(group)) for group in ("experts", "train")]
    config = st.tuples(*map(st.sampled_from, pools))
    return draw(st.lists(config, min_size=1, max_size=6))


@given(configs())
def test_pieces_make_the_columns_that_values_make(found: list[tuple]) -> None:
    flat = [{key: value for piece in config for key, value in piece} for config in found]
    columns = config_columns(found)
    assert columns.keys() == {key for config in flat for key in config}
    for key, series in columns.items():
        pd.testing.assert_series_equal(series, column([config.get(key) for config in flat]))


def test_a_choice_goes_by_its_groups_name_and_before_the_groups_own_key() -> None:
    choices = (("choices.router", "top1"), ("choices.experiment", "rank"), ("choices.degradation@mix.rain", "rain"))
    columns = config_columns([((("router", "{}"), ("seed", 0)), choices)])
    assert list(columns) == ["router", "seed"] and columns["router"].tolist() == ["top1"]


def test_the_narrowest_type() -> None:
    types = {str(column(values).dtype) for values in ([1, 2], [1, None], [True, False], [True, None])}
    assert types == {"int64", "float64", "bool", "boolean"}
    assert column(["rank16", "rank4", None]).cat.categories.tolist() == ["rank4", "rank16"]
    assert column([1, "a"]).tolist() == ["1", "a"]

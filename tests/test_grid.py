"""A sweep's points: variants times grid."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from daair.grid import points
from daair.problems import ConfigError

VARIANTS = {"full": None, "no_router": {"router": "uniform"}, "small": {"experts.rank": 2, "experts.count": 3}}


def parse(*texts):
    return OverridesParser.create().parse_overrides(list(texts))


def test_without_variants_it_is_the_grid_and_the_last_value_of_a_key_holds():
    assert points(parse("a=1,2", "b=x", "a=3"), {}, None) == [["a=3", "b=x"]]


def test_each_variant_meets_each_point_and_names_its_runs():
    assert points(parse("seed=0,1"), VARIANTS, None) == [
        ["label=full", "seed=0"],
        ["label=full", "seed=1"],
        ["router=uniform", "label=no_router", "seed=0"],
        ["router=uniform", "label=no_router", "seed=1"],
        ["experts.rank=2", "experts.count=3", "label=small", "seed=0"],
        ["experts.rank=2", "experts.count=3", "label=small", "seed=1"],
    ]


def test_only_picks_variants_in_its_order():
    assert points(parse(), VARIANTS, ["small", "full"])[0][-1] == "label=small"
    assert len(points(parse(), VARIANTS, ["small", "full"])) == 2


def test_a_label_of_the_command_line_stays():
    assert points(parse("label=mine"), VARIANTS, ["full"]) == [["label=mine"]]


@pytest.mark.parametrize(
    ("overrides", "variants", "only", "text"),
    [
        (["router=top1"], VARIANTS, None, "router: set by variant no_router; choose variants with hydra.sweeper.only"),
        ([], VARIANTS, ["ful"], "hydra.sweeper.only: no variant ful; did you mean full? (variants: full, no_router"),
        ([], {}, ["full"], "hydra.sweeper.only: this sweep has no variants"),
    ],
)
def test_contradictions_are_told(overrides, variants, only, text):
    with pytest.raises(ConfigError, match="^" + text.replace("(", r"\(").replace("?", r"\?")):
        points(parse(*overrides), variants, only)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1).map(lambda x: round(x, 3)) | st.just("word"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l"]), inner, max_size=2),
    max_leaves=5,
)


@settings(deadline=None)
@given(VALUES)
def test_values_of_variants_survive_hydras_grammar(value):
    (job,) = points(parse(), {"v": {"key": value}}, None)
    assert parse(job[0])[0].value() == value


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), max_size=4), st.integers(1, 3))
def test_every_combination_occurs_once(sizes, count):
    grid = parse(*(f"{key}={','.join(map(str, range(size)))}" for key, size in sizes.items()))
    jobs = points(grid, {f"v{i}": {"w": i} for i in range(count)}, None)
    expected = count
    for size in sizes.values():
        expected *= size
    assert len({tuple(job) for job in jobs}) == len(jobs) == expected
    assert all(OmegaConf.from_dotlist(job).label.startswith("v") for job in jobs)

"""A sweep's points: variants times grid."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from daair.config.grid import points
from daair.config.jobs import Command
from daair.config.problems import ConfigError

VARIANTS = {"full": None, "no_router": {"router": "uniform"}, "small": {"experts.rank": 2, "experts.count": 3}}


def parse(*texts):
    return OverridesParser.create().parse_overrides(list(texts))


def test_without_variants_it_is_the_grid_and_the_last_value_of_a_key_holds():
    assert points(parse("a=1,2", "b=x", "a=3"), {}, None) == [["label=a3", "a=3", "b=x"]]


def test_each_variant_meets_each_point_and_names_its_runs():
    assert points(parse("seed=0,1"), VARIANTS, None) == [
        ["label=full", "seed=0"],
        ["label=full", "seed=1"],
        ["router=uniform", "label=no_router", "seed=0"],
        ["router=uniform", "label=no_router", "seed=1"],
        ["experts.rank=2", "experts.count=3", "label=small", "seed=0"],
        ["experts.rank=2", "experts.count=3", "label=small", "seed=1"],
    ]


def test_too_many_jobs_are_refused_before_they_are_listed():
    with pytest.raises(ConfigError, match="^seed: a sweep has at most 100000 jobs"):
        points(parse("seed=range(0,1000000000)"), {}, None)
    with pytest.raises(ConfigError, match="^a: a sweep has at most 100000 jobs"):
        points(parse("a=range(1000)", "b=range(200)"), {}, None)


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


@given(VALUES)
def test_values_of_variants_survive_hydras_grammar(value):
    (job,) = points(parse(), {"v": {"key": value}}, None)
    assert parse(job[0])[0].value() == value


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), max_size=4), st.integers(1, 3))
def test_every_combination_occurs_once(sizes, count):
    grid = parse(*(f"{key}={','.join(map(str, range(size)))}" for key, size in sizes.items()))
    jobs = points(grid, {f"v{i}": {"w": i} for i in range(count)}, None)
    expected = count
    for size in sizes.values():
        expected *= size
    assert len({tuple(job) for job in jobs}) == len(jobs) == expected
    assert all(any(override.startswith("label=v") for override in job) for job in jobs)


@pytest.mark.parametrize(
    ("sweep", "labels"),
    [
        (["experts.rank=4,16"], ["rank4", "rank16"]),
        (["router=top1,soft", "experts.rank=4,16", "seed=0,1"], ["rank4-router_top1", "rank16-router_soft"]),
        (["optimizer.lr=1e-3,2e-5,1e+2,2.0"], ["lr0.001", "lr2e-05", "lr100", "lr2"]),
        (["experts.agnostic=true,false"], ["agnostic_true", "agnostic_false"]),
        (["model.heads=[1,2,4,8],[1,1,1,1]"], ["heads_1-2-4-8"]),
        (["model.channels=8,16", "+model.args.channels=1,2"], ["args_channels1-model_channels8"]),
        (["degradation@mix.tasks.rain.degrade=noise15,rain_heavy"], ["degrade_noise15", "degrade_rain_heavy"]),
        (["mix.patch=-1,1"], ["patch-1", "patch1"]),
        # What makes no other network is not part of the label.
        (["seed=0,1", "paths.runs=a,b", "launch.num_processes=1,2", "train.log_every=1,2"], [""]),
        # Data are, by the shortest ends of their folders.
        (["mix.root=/x/a,/x/b", "seed=0,1"], ["data_a", "data_b"]),
        (["mix.root=/x/a,/y/a"], ["data_x-a", "data_y-a"]),
        (["mix.root=/x/a,/y/a,/y/b"], ["data_x-a", "data_y-a", "data_b"]),
        (["mix.root=/x/a", "experts.rank=4,16"], ["rank4", "rank16"]),
        (["mix.root=/x/a,/x/b", "mix.data=same"], [""]),
        (["experts.rank=4", "loss=l1"], [""]),
    ],
)
def test_the_label_says_what_is_swept(sweep, labels):
    found = [
        {o.partition("=")[0]: o.partition("=")[2] for o in job}.get("label", "")
        for job in points(parse(*sweep), {}, None)
    ]
    assert [label for label in dict.fromkeys(found) if label in labels] == labels
    if labels == [""]:
        assert set(found) == {""}


def test_variants_and_what_the_grid_varies_make_the_label_together():
    jobs = points(parse("loss=l1,l2", "seed=0,1"), {"full": None}, None)
    assert [job[0] for job in jobs] == ["label=full-loss_l1"] * 2 + ["label=full-loss_l2"] * 2


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=5, unique=True), st.permutations(["experts.rank", "loss", "seed"])
)
def test_a_point_has_the_same_label_in_every_sweep_of_the_same_keys(ranks, order):
    values = {"experts.rank": ",".join(map(str, ranks)), "loss": "l1,l2", "seed": "0,1"}
    jobs = points(parse(*(f"{key}={values[key]}" for key in order)), {}, None)
    assert {job[0] for job in jobs if f"experts.rank={ranks[0]}" in job and "loss=l2" in job} == {
        f"label=rank{ranks[0]}-loss_l2"
    }


def test_a_study_in_a_sweep_over_studies_is_refused(composer):
    with pytest.raises(ConfigError, match="experiment: several studies in one sweep would lose their grids"):
        Command(composer, ["experiment=rank,loss", "hydra.mode=MULTIRUN"]).points  # noqa: B018 - composed when read


def test_the_last_value_of_a_key_counts_however_it_is_spelled():
    parsed = OverridesParser.create().parse_overrides(["experts.rank=1,2", "++experts.rank=4"])
    assert points(parsed, None, None) == [["++experts.rank=4"]], "and no label says rank1"


def test_a_variant_may_give_its_own_label():
    parsed = OverridesParser.create().parse_overrides(["seed=0,1"])
    jobs = points(parsed, {"a": {"label": "mine"}, "b": None}, None)
    assert [[o for o in job if o.startswith("label=")] for job in jobs] == [["label=mine"]] * 2 + [["label=b"]] * 2

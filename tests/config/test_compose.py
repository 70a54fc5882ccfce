"""Many jobs are composed as one is: `compose_job` gives what Hydra gives, and the jobs of a sweep are handed out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from daair.cli import conf_dir
from daair.config.identity import config_id
from daair.config.jobs import Command, Composer
from daair.config.problems import ConfigError
from daair.config.validate import validate
from daair.errors import UserError

OVERRIDES = [
    "model=daair_tiny",
    "router=soft",
    "loss=l1_ssim",
    "scale=tiny",
    "experts.rank=3",
    "experts={count: 2, rank: 4}",
    "degradation@mix.tasks.rain.degrade=noise25",
    "mix.tasks.rain.degrade.sigma=7",
    "+mix.tasks.rain.degrade.sigma=8",
    "~mix.tasks.rain",
    "++benchmarks.mine.target=x",
    "optimizer.betas=[0.5,0.9]",
    "study='a b'",
    "train.steps=${seed}",
    "seed=4",
    "hydra.verbose=true",
    "control=nix",
    "experts.rnk=1",
    "seed=1,2",
    "x=[",
]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(conf_dir())


def outcome(compose, overrides):
    try:
        cfg = compose(overrides)
    except ConfigError as error:
        return str(error)
    tasks = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    return OmegaConf.to_container(tasks), OmegaConf.to_container(cfg.hydra.runtime.choices)


@settings(max_examples=12)
@given(st.lists(st.sampled_from(OVERRIDES), max_size=4))
def test_a_job_is_composed_as_hydra_composes_it(composer, overrides):
    assert outcome(composer.compose_job, overrides) == outcome(composer.compose, overrides)


def test_jobs_do_not_see_each_other(composer):
    ranks = [composer.compose_job([f"experts.rank={rank}"]).experts.rank for rank in (2, 3)]
    assert ranks == [2, 3] and composer.compose_job([]).experts.rank not in ranks


def test_a_command_hands_out_every_job_and_takes_unforeseen_ones(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    command = Command.parse(["-m", "model=daair_tiny", "experts.rank=4,8", "seed=0,1", "hydra.verbose=true"])
    jobs = [("label=rank4", "model=daair_tiny", "experts.rank=4", "seed=0"),
            ("label=rank8", "model=daair_tiny", "experts.rank=8", "seed=1")]  # fmt: skip
    assert [(c.label, c.model["experts"]["rank"], c.seed) for c in (command.job(own).config for own in jobs)] == [
        ("rank4", 4, 0),
        ("rank8", 8, 1),
    ]
    assert command.job(jobs[0]) is command.job(list(jobs[0])) is command.jobs[0] and len(command.jobs) == 4
    composer = Composer(conf_dir())
    assert command.jobs[0].id == config_id(validate(composer.compose(["model=daair_tiny", "experts.rank=4"])))
    assert command.job(["model=daair_tiny", "experts.rank=2"]).config.model["experts"]["rank"] == 2
    with pytest.raises(
        ConfigError, match=r"^experts.rank: must be at least 1, got 0 \(in the sweep's job experts.rank=0"
    ):
        command.job(["experts.rank=0"])


def test_a_problem_names_the_job_and_not_its_label(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"\(in the sweep's job experts.rank=0\)$"):
        list(Command.parse(["-m", "experts.rank=4,0", "train.steps=10"]).jobs)


def test_a_key_of_one_option_of_a_swept_group_says_where_it_can_be_given(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    swept = (
        r"^router.noise: unknown; valid in router: .*; router is swept: variants \(hydra.sweeper.variants\) give a key"
    )
    with pytest.raises(ConfigError, match=swept):
        list(Command.parse(["-m", "router=top1,soft", "router.noise=0.5", "train.steps=10"]).jobs)
    with pytest.raises(ConfigError, match="temperature$"):
        list(Command.parse(["-m", "router=soft", "router.noise=0.5", "train.steps=10", "seed=0,1"]).jobs)


@pytest.mark.parametrize("task", ["status", "collate"])
def test_a_look_at_runs_is_not_swept(monkeypatch, task):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=f"^task={task} is done once for a study, not swept: write study=rank instead"):
        list(Command.parse([f"task={task}", "experiment=rank"]).jobs)


def test_a_sweep_without_points_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="^--multirun: the sweep has no points"):
        Command.parse(["-m", "experts.rank=range(0,0)"])


def test_a_list_of_benchmarks_with_keys_below_it_is_refused(composer):
    with pytest.raises(
        ConfigError, match=r"^benchmarks: is a list here, and cannot have keys too \(benchmarks.NAME=...\)"
    ):
        composer.compose(["benchmarks=[rain100l]", "benchmarks.mine.target=DIR"])


@pytest.mark.parametrize(
    ("override", "refusal"),
    [
        ("mix.weights.rain=1.5", "mix.weights.rain: unknown; it is mix.tasks.rain.weight now"),
        ("mix.weights.rain=1,2", "mix.weights.rain: unknown; it is mix.tasks.rain.weight now"),
        (
            "mix.degradations.noise15.sigma=10",
            "mix.degradations.noise15.sigma: unknown; it is mix.tasks.noise15.degrade.sigma now",
        ),
        ("~mix.degradations.noise50", "mix.degradations.noise50: unknown; it is mix.tasks.noise50.degrade now"),
        ("mix.repeats.clean=2", "mix.repeats.clean: unknown; it is mix.synthetic_repeats now"),
        ("mix.source.rain=paired", "mix.source.rain: unknown; it is mix.tasks.rain.source now"),
        ("loss.router=0.1", "loss.router: unknown; it is loss.terms.router now"),
        (
            "degradation@mix.degradations.rain=snow",
            "degradation@mix.degradations.rain: unknown; it is degradation@mix.tasks.rain.degrade now",
        ),
        (
            "degradation@mix.tasks.rian.degrade=snow",
            "degradation@mix.tasks.rian.degrade: not in the config; did you mean degradation@mix.tasks.rain.degrade?",
        ),
        ("+degradation@mix.degradations.snow=snow", "mix.degradations.snow: unknown; it is mix.tasks.snow.degrade now"),
        ("+mix.weights.snow=2", "mix.weights.snow: unknown; it is mix.tasks.snow.weight now"),
        ("mix.tasks.rian.weight=2", "mix.tasks.rian.weight: unknown; did you mean mix.tasks.rain.weight?"),
        (
            "mix.tasks.snow.weight=2",
            "mix.tasks.snow.weight: mix.tasks has no snow (noise15, noise25, noise50, rain, haze); "
            "to add it, write +mix/task@mix.tasks.snow=...",
        ),
        ("~mix.tasks.noise5", "mix.tasks.noise5: unknown; did you mean mix.tasks.noise50?"),
        ("~mix.nothing_alike", "mix.nothing_alike: not in the config"),
        (
            "schedule._target_=daair.engine.optim.cosine",
            "schedule._target_: cannot import daair.engine.optim.cosine: daair.engine has no optim; "
            "it is daair.optim.cosine now",
        ),
    ],
)
@pytest.mark.parametrize("multirun", [False, True])
def test_what_is_not_in_the_config_is_refused_with_what_is(composer, monkeypatch, override, refusal, multirun):
    if "," in override and not multirun:
        pytest.skip("a list of values is for sweeps")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError) as raised:
        list(Command(composer, ["mix=aio3", override], multirun=multirun).jobs)
    assert str(raised.value).partition(" (in the sweep's job")[0] == refusal


def test_a_key_of_the_network_is_not_looked_for_deep_in_the_mix(composer):
    with pytest.raises(ConfigError, match=r"^model.width: unknown; (?!did you mean mix)"):
        composer.compose(["model.width=32"])

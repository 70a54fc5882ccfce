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


@settings(max_examples=12, deadline=None)
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

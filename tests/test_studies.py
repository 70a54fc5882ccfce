"""Every study in experiments/, at every scale: its points compose, are valid, can be built and are told apart."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import ROOT, make_photographs

from daair.config.buildable import check_buildable
from daair.config.compose import Composer
from daair.config.identity import config_id, run_name
from daair.config.jobs import Command
from daair.config.schema import Config
from daair.config.validate import benchmarks_of, validate

STUDIES = sorted(file.stem for file in (ROOT / "experiments").glob("*.yaml") if "." not in file.stem)
SCALES = sorted(file.stem for file in (ROOT / "conf/scale").glob("*.yaml"))
OWN_BENCHMARKS = {"demo", "aio3_tiny", "aio5_tiny"}  # those of their mix, whatever the scale
BUILT: set[str] = set()  # what one test found buildable, the others need not build again


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(str(ROOT / "conf"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"), count=1, size=128)


def jobs(composer: Composer, *overrides: str) -> list[Config]:
    return list(each_job(composer, *overrides))


def each_job(composer: Composer, *overrides: str) -> Iterator[Config]:
    for point in Command(composer, overrides).points:
        yield validate(composer.compose_job(point.overrides))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("study", STUDIES)
def test_every_point_can_be_trained_and_is_told_apart(composer, photographs, study, scale, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    configs = jobs(composer, f"experiment={study}", f"scale={scale}", "seed=0", f"mix.root={photographs}")
    assert len(configs) >= 2
    assert len({config_id(config) for config in configs}) == len(configs)
    labels = [run_name(config).split("/")[1][:-9] for config in configs]
    assert len(set(labels)) == len(labels)
    assert {(config.study, bool(config.question)) for config in configs} == {(study, True)}
    for config in configs if scale == "tiny" else configs[:1]:  # the larger networks have room for more
        benchmarks_of(config)
        check_buildable(config, BUILT)


@pytest.mark.parametrize("study", sorted({*STUDIES} - OWN_BENCHMARKS))
def test_the_published_scale_asks_for_the_published_test_sets(composer, photographs, study, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    real, made = {"sots_outdoor", "gopro", "lolv1"}, {"cbsd68_haze", "cbsd68_blur", "cbsd68_lowlight"}
    for scale, asked in (("tiny", made), ("paper", real)):
        config = next(each_job(composer, f"experiment={study}", f"scale={scale}", f"mix.root={photographs}"))
        other = made if scale == "paper" else real
        assert config.benchmarks.keys() & asked and not config.benchmarks.keys() & other
    assert (config.train.clip_grad, config.train.ema_decay, config.schedule["length"]) == (None, 0, 1.25)
    assert (config.train.epochs, config.train.steps, config.mix["holdout"]) in ((120, None, 0), (None, None, 0))
    assert bool(config.train.epochs) != bool(config.train.budget), "a study of equal time keeps its time"


@pytest.mark.parametrize("study", STUDIES)
def test_the_header_says_what_it_costs_and_the_table_has_its_reference(composer, photographs, study, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    text = (ROOT / "experiments" / f"{study}.yaml").read_text()
    configs = jobs(composer, f"experiment={study}", "scale=tiny", f"mix.root={photographs}")
    assert re.search(rf"^#   python run.py experiment={study} .*two CPU cores: .* \({len(configs)} runs\)$", text, re.M)
    collate = yaml.safe_load(text)["collate"]
    assert set(collate["reference"]) <= set(collate["rows"])
    reference = [config for config in configs if all(_value(config, *pair) for pair in collate["reference"].items())]
    assert len({config_id(config) for config in reference}) == 1


def _value(config: Config, key: str, wanted: object) -> bool:
    """Whether a row's key has the value of the table's reference: an option taken, or a value of the config."""
    if key in config.choices:
        return config.choices[key] == wanted
    value: object = config.to_dict()
    for part in key.split("."):
        value = value[part]
    return value == wanted


def test_runs_of_longer_are_measured_beyond_their_training(composer, tmp_path):
    (config,) = jobs(composer, "experiment=longer/beyond", "checkpoint=RUN", f"mix.root={tmp_path}")
    names = [benchmark.name for benchmark in benchmarks_of(config)]
    assert names == list(pd.read_csv(ROOT / "experiments/longer/beyond.csv")["column"].unique())[:7]


def test_overrides_narrow_a_study(composer, photographs, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    whole = jobs(composer, "experiment=rank", f"mix.root={photographs}")
    part = jobs(composer, "experiment=rank", f"mix.root={photographs}", "experts.rank=4,8", "seed=0")
    one = jobs(composer, "experiment=rank", f"mix.root={photographs}", "experts.rank=4", "seed=0")
    names = [run_name(config) for config in whole]
    assert len(part) == 2 and set(map(run_name, part)) < set(names)
    assert run_name(one[0]) in names  # the label, too
    variant = jobs(composer, "experiment=experts", f"mix.root={photographs}", "hydra.sweeper.only=[n3]")
    assert {run_name(config).split("/")[1][:-9] for config in variant} == {"n3"} and len(variant) == 3

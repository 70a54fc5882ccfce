"""The command of a frozen config composes the same config again."""

import shlex

import pytest

from daair.cli import conf_dir, spell_out
from daair.config.identity import config_id, run_name
from daair.config.jobs import Composer
from daair.config.reproduce import command
from daair.config.schema import Config
from daair.config.validate import choices_of, validate

STUDY = ["scale=tiny", "mix=aio5", "mix.root=data", "experts.rank=8", "router=oracle", "study=rank", "label=no_router"]


def compose(overrides: list[str]) -> Config:
    cfg = Composer(conf_dir()).compose([spell_out(override) for override in overrides])
    return validate(cfg, choices_of(cfg))


@pytest.mark.parametrize(
    "overrides",
    [
        STUDY,
        ["experiment=rank", "hydra/launcher=basic", "mix.root=data", "loss=l1_ssim", "loss.ssim=0.3", "seed=3"],
        [
            "model.heads=[1,2,4,4]",
            "optimizer.betas=[0.9,0.95]",
            "train.clip_grad=null",
            "train.precision=no",
            "benchmarks=[demo_rain,demo_haze]",
            "label='a, b = (c)'",
            "study=2024",
            "protocols=[moceir]",
        ],
        [
            "benchmarks.mine.target=some dir",
            "benchmarks.mine.degrade=sigma25",
            "benchmarks.demo_rain=true",
            "degradation@mix.tasks.haze.degrade=snow",
            "mix.tasks.noise15.degrade.sigma=12.5",
            "~mix/task@mix.tasks.noise25",
        ],
    ],
    ids=lambda overrides: " ".join(overrides)[:30] or "defaults",
)
def test_the_command_composes_the_same_config(overrides: list[str]) -> None:
    frozen = compose(overrides)
    python, run, *again = shlex.split(command(frozen.to_dict()))
    assert (python, run) == ("python", "run.py")
    composed = compose(again)
    assert (config_id(composed), run_name(composed)) == (config_id(frozen), run_name(frozen))
    assert (composed.benchmarks, composed.protocols) == (frozen.benchmarks, frozen.protocols)


def test_the_command_is_short_and_names_several_seeds() -> None:
    config = compose(
        ["model=daair_tiny", "experts.rank=16", "train.steps=20", "logger.mode=disabled", "seed=1"]
    ).to_dict()
    assert command(config) == "python run.py model=daair_tiny train.steps=20 experts.rank=16 seed=1"
    assert command(config, [2, 0]) == "python run.py -m model=daair_tiny train.steps=20 experts.rank=16 seed=0,2"

"""What makes two configs the same run, and what the run's folder is called."""

import inspect
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from helpers import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from daair import components
from daair.config.identity import ADDED, config_id, identity, run_folder, run_name
from daair.config.jobs import Composer
from daair.config.validate import Config, validate

TINY = ("model=daair_tiny",)


def compose(composer: Composer, *overrides: str) -> Config:
    return validate(composer.compose_job(overrides))


def test_choices_name_the_run(composer):
    config = compose(composer, *TINY, "study='a study/!'", "seed=7")
    study, name, seed = run_name(config).split("/")
    assert (study, seed) == ("a-study-31c667", "seed7")
    assert name == f"daair_tiny-demo-{config_id(config)}"
    assert len(config_id(config)) == 8
    named = compose(composer, *TINY, "label='../x y'")
    assert run_name(named).split("/")[1] == f"x-y-46c740-{config_id(named)}"


def test_the_order_of_composed_degradations_counts(composer):
    """Haze over a dark scene is another image than a dark scene of haze."""
    first, second = (compose(composer, *TINY, "mix=cdd11") for _ in range(2))
    assert config_id(first) == config_id(second)
    degrade = second.mix["tasks"]["low_haze"]["degrade"]
    degrade["steps"] = dict(reversed(degrade["steps"].items()))
    assert config_id(first) != config_id(second)


# Spellings of the same values, and an order; all must give one id.
SPELLINGS = {
    "optimizer.lr": ["2e-3", "0.002", "2.0e-3"],
    "train.clip_grad": ["2", "2.0", "2e0"],
    "experts.rank": ["4", "+4"],
    "model.expansion": ["2", "2.0"],
    "mix.tasks.rain.weight": ["2", "2.0"],
    "loss.l1": ["1", "1.0"],
    "control.update": ["ema", "'ema'"],
    "model.heads": ["[1,2,4,8]", "[1, 2, 4, 8]"],
}


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_id_does_not_depend_on_order_or_spelling(composer, data):
    reference = validate(composer.compose_job([f"{key}={values[0]}" for key, values in SPELLINGS.items()]))
    order = data.draw(st.permutations(list(SPELLINGS)))
    prefix = data.draw(st.sampled_from(["", "++"]))
    spelled = [f"{prefix}{key}={data.draw(st.sampled_from(SPELLINGS[key]))}" for key in order]
    other = validate(composer.compose_job(spelled))
    assert identity(other) == identity(reference)
    assert config_id(other) == config_id(reference)
    assert other.to_dict() == reference.to_dict()


@pytest.mark.parametrize(
    "override",
    ["paths.runs=x", "logger.mode=disabled", "device=cpu", "launch.num_processes=2", "train.workers=0", "seed=9",
     "train.log_every=1", "train.checkpoint_every=7", "train.keep=1", "train.validate_every=3", "train.threads=1",
     "train.best=val/psnr", "train.keep_every=10", "logger=[wandb,tensorboard]", "launch.order={seed:[1]}",
     "study=s", "label=l", "benchmarks=[demo_rain]", "restore.tile=64", "task=restore checkpoint=c input=i output=o",
     "profile.size=64", "mix.root=/data", "mix.benchmarks=[]", "task=profile",
     "mix.cache=null", "mix.cache_gb=1", "mix.on_bad_file=skip", "trust=[mypkg]"],
)  # fmt: skip
def test_id_ignores_what_cannot_change_the_network(composer, override):
    assert config_id(validate(composer.compose_job(override.split()))) == config_id(validate(composer.compose_job([])))


@pytest.mark.parametrize(
    "override",
    ["experts.rank=4", "model.channels=16", "router=soft", "control.momentum=0.9", "loss=l2", "optimizer.lr=1e-3",
     "schedule.warmup=0.1", "train.steps=10", "train.batch_size=8", "train.precision=bf16", "train.ema_decay=0.9",
     "train.accumulation=2", "mix.patch=32", "mix.tasks.noise15.degrade.sigma=10", "train.compile=true",
     "mix.tasks.rain.source=paired", "mix.source=auto", "mix.synthetic_repeats=2", "mix.tasks.rain.weight=2",
     "mix.balance=repeats",
     "mix.tasks.rain.repeats=7", "mix.tasks.rain.pairs=rain100h/train", "mix.min_pairs=5",
     "train.freeze=[a]", "train.init_strict=false", "train.budget=20min", "train.progressive=[{share:1,patch:32}]"],
)  # fmt: skip
def test_id_changes_with_what_can(composer, override):
    assert config_id(validate(composer.compose_job([override]))) != config_id(validate(composer.compose_job([])))


@pytest.mark.parametrize(
    ("key", "override"),
    [("window", "model.window=96"), ("control", "control=ema"), ("where", "experts.where=spatial"),
     ("teacher_forcing", "router.teacher_forcing=0.5")],
)  # fmt: skip
def test_a_key_that_earlier_versions_lacked_counts_only_where_it_changes_something(composer, key, override):
    def keys(*overrides: str) -> set[str]:
        model = identity(compose(composer, "model=daair_naf_tiny", *overrides))["model"]
        return {*model, *model["experts"], *model["router"]}

    assert key not in keys() and key in keys(override)


@pytest.mark.parametrize(("target", "key"), [(target, key) for target, keys in ADDED.items() for key in keys])
def test_such_a_key_is_left_out_at_its_default(target, key):
    default, neutral = inspect.signature(components.locate(target)).parameters[key].default, ADDED[target][key]
    if isinstance(neutral, dict):
        assert asdict(default).items() >= neutral.items()
    else:
        assert default == neutral


def test_validations_are_part_of_the_id_where_they_end_the_training(composer):
    def of(*overrides):
        return config_id(validate(composer.compose_job(["train.best=val/psnr", *overrides])))

    stop = "train.stop_after=3"
    ids = [of(), of(stop), of("train.stop_after=4"), of(stop, "train.validate_every=7"), of(stop, "mix.val_crops=2")]
    assert len({*ids, of(stop, "train.best=val/psnr/rain")}) == 6
    assert of("mix.val_crops=2", "train.validate_every=7") == of()


def test_id_of_a_training_for_a_time_is_that_of_the_time(composer):
    def of(time, steps=100):
        cfg = OmegaConf.to_container(composer.compose([]), resolve=False)
        cfg.pop("hydra")
        cfg["train"] |= {"budget": time, "steps": steps}
        return config_id(validate(cfg, {}))

    assert of("20min") == of("1200s") == of("20min", steps=7)
    assert of("2.2h") == of("132min") == of("7920s"), "the last is what a config was frozen with"
    assert len({of("20min"), of("21min"), of(None), of(None, steps=7)}) == 4


def test_id_takes_the_names_of_folders_and_not_their_places(composer):
    def of(place, name):
        folders = (f"mix.tasks.paired.pairs.input={place}/{name}", f"mix.tasks.paired.pairs.target={place}/gt")
        return config_id(validate(composer.compose_job(["mix=paired", *folders])))

    assert of("/data", "rainy") == of("/elsewhere/data", "rainy") != of("/data", "snowy")


def test_id_changes_with_a_default_in_the_files_and_with_the_order_of_labels(composer):
    cfg = OmegaConf.to_container(composer.compose([]), resolve=False)
    cfg.pop("hydra")
    before = config_id(validate(cfg, {}))
    cfg["train"]["clip_grad"] = 0.5
    changed = config_id(validate(cfg, {}))
    cfg["mix"]["tasks"] = dict(reversed(cfg["mix"]["tasks"].items()))
    assert len({before, changed, config_id(validate(cfg, {}))}) == 3


def test_a_run_keeps_its_folder_whatever_its_label_becomes(composer, tmp_path):
    here = (*TINY, f"paths.runs={tmp_path}", "study=s")
    first = run_folder(compose(composer, *here, "label=rank8", "seed=1"))
    assert first == tmp_path / "s" / f"rank8-{first.parent.name[-8:]}" / "seed1"
    first.mkdir(parents=True)
    again = compose(composer, *here, "seed=2")
    assert run_name(again).split("/")[1].startswith("daair_tiny-demo-")
    assert run_folder(again) == first.with_name("seed2")
    assert run_folder(compose(composer, *here, "label=rank8", "experts.rank=3")).parent != first.parent
    assert run_folder(compose(composer, *here, "study=t", "seed=1")).parts[-3:-1] == (
        "t",
        f"daair_tiny-demo-{first.parent.name[-8:]}",
    )


def test_id_is_the_same_in_another_process(composer, tmp_path):
    overrides = [f"{key}={values[0]}" for key, values in SPELLINGS.items()]
    code = (
        "import sys; from daair.cli import conf_dir; from daair.config.validate import validate; "
        "from daair.config.identity import config_id; "
        "from daair.config.jobs import Composer; print(config_id(validate(Composer(conf_dir()).compose(sys.argv[1:]))))"
    )
    changed = {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "7", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code, "paths.runs=elsewhere", *reversed(overrides)], cwd=tmp_path, text=True,
        capture_output=True, timeout=120, env={**os.environ, **changed},
    )  # fmt: skip
    assert done.stdout.strip() == config_id(validate(composer.compose_job(overrides))), done.stderr

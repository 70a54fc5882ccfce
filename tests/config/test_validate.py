"""Config errors' texts, and what makes two configs the same."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import BaseModel

from daair.cli import conf_dir
from daair.components import Checker, locate
from daair.config.identity import config_id, identity, run_folder, run_name
from daair.config.jobs import Composer, check
from daair.config.problems import explain_unknown
from daair.config.schema import known_keys
from daair.config.validate import Config, ConfigError, validate

TINY = ("model=daair_tiny",)
BUILT: set[str] = set()  # parts of configs that could be built, which are not built again


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(conf_dir())


def compose(composer: Composer, *overrides: str) -> Config:
    return check(composer.compose_job(overrides), composer.options, BUILT)


def complaint(composer: Composer, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(composer, *overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "text"),
    [
        # unknown keys, however they are spelled
        ("experts.rnk=4", "experts.rnk: unknown; did you mean experts.rank?"),
        ("+experts.rnk=4", "experts.rnk: unknown; did you mean experts.rank?"),
        ("++experts.rnk=4", "experts.rnk: unknown; did you mean experts.rank?"),
        ("expert.rank=4", "expert.rank: unknown; did you mean experts.rank?"),
        ("train.stepz=4", "train.stepz: unknown; did you mean train.steps?"),
        ("rank=4", "rank: unknown; did you mean experts.rank?"),
        ("train.lr=1", "train.lr: unknown; did you mean optimizer.lr?"),
        ("+optimizer.learning_rate=1", "optimizer.learning_rate: unknown; "),
        ("schedule.warm_up=0", "schedule.warm_up: unknown; did you mean schedule.warmup?"),
        ("mix.tasks.noise15.degrade.sgma=3", "mix.tasks.noise15.degrade.sgma: unknown; did you mean mix.tasks."),
        ("modle=daair", "modle: unknown; did you mean model?"),
        ("+zzz.yyy=1", "zzz: unknown; valid keys: benchmarks, checkpoint, "),
        ("+task.foo=1", "task.foo: unknown; valid in task: _target_, name"),
        ("model.experts.rank=4", "model.experts.rank: set experts.rank instead"),
        ("+router.channels=4", "router.channels: is supplied by the code and cannot be set"),
        ("+seed=3", "seed: exists already; leave out the +"),
        # unknown options
        ("model=smal", "model=smal: unknown; did you mean model=daair_small? (options: custom, daair, daair_small, "),
        ("experts=nope", "experts=nope: unknown (options: constant, pyramid, spread)"),
        ("hydra/launcher=bsic", "hydra/launcher=bsic: unknown; did you mean hydra/launcher=basic? (options: "),
        ("train=3", "train=3: unknown (options: default)"),
        ("control=null", "control=null: unknown (options: "),
        # types
        ("train.steps=1.5", "train.steps: 1.5 is not an integer"),
        ("train.steps=many", 'train.steps: "many" is not an integer'),
        ("train.steps=null", "train.steps: null is not an integer"),
        ("optimizer.lr=fast", 'optimizer.lr: "fast" is not a number'),
        ("optimizer.betas=[0.9]", "optimizer.betas: must have more values, got [0.9]"),
        ("logger.images=1", "logger.images: 1 is not true or false"),
        ("benchmarks=demo_rain", 'benchmarks: "demo_rain" is not a list'),
        ("model.heads=[1,2,4,x]", 'model.heads[3]: "x" is not an integer'),
        ("model.heads=[1,2]", "model.heads: must have at least 4 values, got [1, 2]"),
        ("mix.tasks.rain.degrade.density=3", "mix.tasks.rain.degrade.density: 3 is not a list"),
        ("study=", "study: must not be empty"),
        # ranges
        ("seed=-1", "seed: must be at least 0, got -1"),
        ("experts.rank=0", "experts.rank: must be at least 1, got 0"),
        ("train.ema_decay=1", "train.ema_decay: must be less than 1, got 1"),
        ("train.checkpoint_every=0", "train.checkpoint_every: must be at least 1, got 0"),
        ("mix.tasks.noise15.degrade.sigma=300", "mix.tasks.noise15.degrade.sigma: must be at most 255, got 300"),
        ("mix.tasks.noise15.degrade.sigma=[0,300]", "mix.tasks.noise15.degrade.sigma[1]: must be at most 255, got 300"),
        ("mix.tasks.noise15.degrade.sigma=[50,9]", "mix.tasks.noise15.degrade.sigma: must be low to high, got [50, 9]"),
        ("mix.tasks.noise15.degrade.sigma=x", 'mix.tasks.noise15.degrade.sigma: "x" is not a number or a list'),
        ("mix.tasks.rain.degrade.density=[9,1]", "mix.tasks.rain.degrade.density: must be low to high, got [9, 1]"),
        ("degradation@mix.tasks.rain.degrade=noise_blnd", "degradation=noise_blnd: unknown; did you mean degradation="),
        ("mix.tasks.rain.weight=-1", "mix.tasks.rain.weight: must be at least 0, got -1"),
        ("schedule.warmup=1", "schedule.warmup: must be less than 1, got 1"),
        ("optimizer.lr=0", "optimizer.lr: must be greater than 0, got 0"),
        ("optimizer.betas=[0.9,2]", "optimizer: Invalid beta parameter at index 1: 2.0"),
        ("restore.tile=33", "restore.tile: must be a multiple of 8, got 33"),
        ("logger.mode=onlin", 'logger.mode: "onlin" is not one of online, offline, disabled; did you mean online?'),
        ("train.precision=fp8", 'train.precision: "fp8" is not one of no, bf16'),
        ("device=gpu", 'device: "gpu" is not one of auto, cpu, cuda'),
        ("benchmarks=[cbsd68_sigma26]", "benchmarks: 'cbsd68_sigma26' is unknown; did you mean cbsd68_sigma25?"),
        # grammar and sweeps
        ("study=a=b", "study=a=b: not valid as an override ("),
        ("seed=1,2", "seed: 1,2 is several values; write [1,2] for a list, or sweep over them with -m"),
        # targets
        ("model._target_=nix.Net", "model._target_: cannot import nix.Net: No module named 'nix'"),
        ("model._target_=daair.models.daair.DaAR", "model._target_: cannot import daair.models.daair.DaAR: "),
        ("model=custom", "model._target_: missing; set model._target_=..."),
        (
            "router._target_=collections.OrderedDict",
            "router._target_: collections.OrderedDict is not of daair.models: no c",
        ),
        ("train.steps=${sed}", "train.steps: Interpolation key 'sed' not found"),
        ("mix.benchmarks=[rain100]", "mix.benchmarks: 'rain100' is unknown; did you mean rain100l?"),
        ("schedule.foo=1", "schedule.foo: unknown; did you mean schedule.f"),
        ("task._target_=daair.engine.trian.train", "task._target_: cannot import daair.engine.trian.train: "),
    ],
)
def test_one_override(composer, override, text):
    from daair.errors import UserError

    with pytest.raises(UserError) as caught:
        compose(composer, override)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("train.batch_size=5", "launch.num_processes=2"), "train.batch_size: must be a multiple of launch.nodes x"),
        (("restore.tile=32", "restore.overlap=32"), "restore.overlap: must be below restore.tile (32), got 32"),
        (("task=evaluate",), "checkpoint: missing; task=evaluate needs checkpoint=..."),
        (("task=restore", "checkpoint=x"), "input: missing; task=restore needs input=...; output: missing; task=res"),
        (("checkpoint=x",), "checkpoint: unused by task=train; it is for task=evaluate, restore"),
        (("task=profile", "output=x.csv"), "output: unused by task=profile; did you mean profile.output?"),
        (("task=collate", "output=x"), "output: unused by task=collate; did you mean collate.output?"),
        (("task=evaluate", "checkpoint=x", "input=x"), "input: unused by task=evaluate; it is for task=restore, pre"),
        (("router=oracle", "experts.count=1"), "experts.count: must be at least 5 with router=oracle (one expert per"),
        (("task=profile", "profile.models=[daair,smal]"), "profile.models: no smal; did you mean daair_small? ("),
        (("mix=aio3",), "mix.root: "),
        (("experts.rank=1000",), "experts.rank: "),
        (("model.heads=[1,2,4,7]",), "model.heads: "),
        (("experts.kernel=2",), "experts.kernel: must be odd, got 2"),
        (("seed=-1", "train.steps=a", "experts.rnk=2"), 'train.steps: "a" is not an integer; seed: must be at least 0'),
        (("model._target_=torch.nn.Conv2d", "+model.args={out: 3}"), "model.args.out: unknown; did you mean "),
    ],
)  # fmt: skip
def test_combinations(composer, overrides, text):
    assert complaint(composer, *overrides).startswith(text)


def test_all_problems_are_told_at_once(composer):
    assert len(complaint(composer, "seed=-1", "train.steps=a", "experts.rnk=2").split("; ")) >= 3


def test_a_problem_behind_an_alias_is_told_once_under_the_key_to_set(composer):
    assert complaint(composer, "experts.rank=x") == 'experts.rank: "x" is not an integer'


@pytest.mark.parametrize(
    "override", ["study=2024", "train.precision=no", "optimizer.lr=1", "train.clip_grad=null", "control=none"]
)
def test_accepted(composer, override):
    compose(composer, override)


def test_a_foreign_model_gets_its_args_and_nothing_else(composer):
    args = "{in_channels: 3, out_channels: 3, kernel_size: 1}"
    composed = partial(compose, composer, "task=profile")
    custom = composed("model=custom", "model._target_=torch.nn.Conv2d", f"model.args={args}")
    assert custom.model["args"] == {"in_channels": 3, "out_channels": 3, "kernel_size": 1}
    over = composed("model._target_=torch.nn.Conv2d", f"+model.args={args}")
    assert over.model == custom.model
    assert config_id(over) == config_id(custom)
    assert config_id(over) == config_id(
        composed("model._target_=torch.nn.Conv2d", f"+model.args={args}", "experts.rank=4")
    )
    asked = complaint(composer, "model=custom", "model._target_=torch.nn.Conv2d", f"model.args={args}")
    assert asked.startswith("model._target_: torch.nn.Conv2d lies outside daair: it can be evaluated")


def test_root_config_and_schema_name_the_same_keys(composer):
    def keys(node: dict, schema: type[BaseModel], prefix: str = "") -> set[str]:
        found = set()
        for name, value in node.items():
            found.add(prefix + name)
            field = schema.model_fields[name].annotation
            if isinstance(value, dict) and isinstance(field, type) and issubclass(field, BaseModel):
                found |= keys(value, field, f"{prefix}{name}.")
        return found

    cfg = OmegaConf.to_container(composer.compose([]), resolve=False)
    cfg.pop("hydra")
    assert keys(cfg, Config) == known_keys()


def test_to_dict_and_back(composer):
    config = compose(composer, *TINY, "seed=3")
    data = json.loads(json.dumps(config.to_dict()))
    again = Config.from_dict(data)
    assert again == config
    assert again.to_dict() == data
    assert run_name(again) == run_name(config)
    assert list(data["mix"]["tasks"]) == list(config.mix["tasks"])
    with pytest.raises(ConfigError, match="^more: unknown"):
        Config.from_dict({**data, "more": 1})


def test_choices_name_the_run(composer):
    config = compose(composer, *TINY, "study='a study/!'", "seed=7")
    study, name, seed = run_name(config).split("/")
    assert (study, seed) == ("a-study", "seed7")
    assert name == f"daair_tiny-demo-{config_id(config)}"
    assert len(config_id(config)) == 8
    named = compose(composer, *TINY, "label='../x y'")
    assert run_name(named).split("/")[1] == f"x-y-{config_id(named)}"


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


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
     "study=s", "label=l", "benchmarks=[demo_rain]", "restore.tile=64", "task=restore checkpoint=c input=i output=o",
     "profile.size=64", "mix.root=/data", "mix.benchmarks=[]", "task=profile",
     "mix.cache=null", "mix.cache_gb=1", "mix.on_bad_file=skip"],
)  # fmt: skip
def test_id_ignores_what_cannot_change_the_network(composer, override):
    assert config_id(validate(composer.compose_job(override.split()))) == config_id(validate(composer.compose_job([])))


@pytest.mark.parametrize(
    "override",
    ["experts.rank=4", "model.channels=16", "router=soft", "control.momentum=0.9", "loss=l2", "optimizer.lr=1e-3",
     "schedule.warmup=0.1", "train.steps=10", "train.batch_size=8", "train.precision=bf16", "train.ema_decay=0.9",
     "train.accumulation=2", "mix.patch=32", "mix.tasks.noise15.degrade.sigma=10", "train.compile=true",
     "mix.tasks.rain.source=paired", "mix.source=auto", "mix.synthetic_repeats=2", "mix.tasks.rain.weight=2",
     "mix.tasks.rain.pairs=rain100h/train", "mix.tasks.rain.repeats=7", "mix.balance=repeats", "mix.min_pairs=5"],
)  # fmt: skip
def test_id_changes_with_what_can(composer, override):
    assert config_id(validate(composer.compose_job([override]))) != config_id(validate(composer.compose_job([])))


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


class Widget:
    """A target for the checks below."""

    def __init__(self, size: int, part: "Widget | None" = None, names: tuple[str, ...] = (), anything=None, **more):
        """Takes more."""


def test_signatures_are_the_schema():
    target = f"{__name__}.Widget"
    checker = Checker()
    checker.node(
        {"_target_": target, "size": 1.5, "part": {"_target_": target, "names": [3]}, "anything": [1], "new": 2}, "w"
    )
    texts = [str(problem) for problem in explain_unknown(checker.problems, checker.known)]
    assert texts == [
        "w.size: 1.5 is not an integer",
        "w.part.names[0]: 3 is not a text",
        "w.part.size: missing",
    ]


def test_locate():
    assert locate("json.dumps") is json.dumps
    for path, text in {
        "json.dump5": "cannot import json.dump5: json has no dump5; did you mean dump?",
        "json": "json is not a class or function",
        "a b": "'a b' is not a dotted path",
        "nix.x": "cannot import nix.x: No module named 'nix'",
    }.items():
        with pytest.raises(ImportError, match="^" + text.replace("?", r"\?")):
            locate(path)


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
    done = subprocess.run(
        [sys.executable, "-c", code, "paths.runs=elsewhere", *reversed(overrides)], cwd=tmp_path, text=True,
        capture_output=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert done.stdout.strip() == config_id(validate(composer.compose_job(overrides))), done.stderr

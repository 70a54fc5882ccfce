"""The texts of config errors, and what is accepted."""

import json
from functools import partial

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel

from daair.checkpoint import WEIGHTS
from daair.cli import conf_dir
from daair.config.identity import config_id, run_name
from daair.config.jobs import Composer, check
from daair.config.problems import explain_key, moved
from daair.config.schema import known_keys
from daair.config.validate import Config, ConfigError, validate

TINY = ("model=daair_tiny",)
TORCH = "torch.optim.lr_scheduler"
BUILT: set[str] = set()  # parts of configs that could be built, which are not built again


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
        ("+zzz.yyy=1", "zzz: unknown; valid keys: "),
        ("+task.foo=1", "task.foo: unknown; valid in task: _target_, name"),
        ("model.experts.rank=4", "model.experts.rank: set experts.rank instead"),
        ("+router.channels=4", "router.channels: is supplied by the code and cannot be set"),
        ("+seed=3", "seed: exists already; leave out the +"),
        # unknown options
        ("model=smal", "model=smal: unknown; did you mean model=daair_small? (options: adair, adair_tiny, airnet, "),
        ("experts=nope", "experts=nope: unknown (options: constant, merged, pyramid, spread)"),
        ("hydra/launcher=bsic", "hydra/launcher=bsic: unknown; did you mean hydra/launcher=basic? (options: "),
        ("train=3", "train=3: unknown (options: default, progressive)"),
        ("control=null", "control=null: unknown (options: "),
        # types
        ("train.steps=1.5", "train.steps: must be an integer, got 1.5"),
        ("train.steps=many", 'train.steps: must be an integer, got "many"'),
        ("train.steps=null", "train.steps: must be an integer, got null"),
        ("train.epochs=0", "train.epochs: must be greater than 0, got 0"),
        ("train.budget=20", "train.budget: must be a time such as 90s, 20min or 2h, got 20"),
        ("train.budget=0min", 'train.budget: must be a time such as 90s, 20min or 2h, got "0min"'),
        ("train.progressive=[{share:0.5}]", "train.progressive: the shares must sum to 1, not 0.5"),
        ("train.progressive=[{share:1,patch:4}]", "train.progressive[0].patch: must be at least 8, got 4"),
        ("optimizer.lr=fast", 'optimizer.lr: must be a number, got "fast"'),
        ("optimizer.betas=[0.9]", "optimizer.betas: needs more values, got [0.9]"),
        ("logger.images=1", "logger.images: must be true or false, got 1"),
        ("benchmarks=3", "benchmarks: must be a list, got 3"),
        ("model.heads=[1,2,4,x]", 'model.heads[3]: must be an integer, got "x"'),
        ("model.heads=[1,2]", "model.heads: must have at least 4 items, got [1, 2]"),
        ("mix.tasks.rain.degrade.density=3", "mix.tasks.rain.degrade.density: must be a list, got 3"),
        ("study=", "study: must not be empty"),
        # ranges
        ("seed=-1", "seed: must be at least 0, got -1"),
        ("experts.rank=0", "experts.rank: must be at least 1, got 0"),
        ("train.ema_decay=1", "train.ema_decay: must be less than 1, got 1"),
        ("train.checkpoint_every=0", "train.checkpoint_every: must be at least 1, got 0"),
        ("mix.tasks.noise15.degrade.sigma=300", "mix.tasks.noise15.degrade.sigma: must be at most 255, got 300"),
        ("mix.tasks.noise15.degrade.sigma=[0,300]", "mix.tasks.noise15.degrade.sigma[1]: must be at most 255, got 300"),
        ("mix.tasks.noise15.degrade.sigma=[50,9]", "mix.tasks.noise15.degrade.sigma: must be low to high, got [50, 9]"),
        ("mix.tasks.noise15.degrade.sigma=x", 'mix.tasks.noise15.degrade.sigma: must be a number or a list, got "x"'),
        ("mix.tasks.rain.degrade.density=[9,1]", "mix.tasks.rain.degrade.density: must be low to high, got [9, 1]"),
        ("degradation@mix.tasks.rain.degrade=noise_blnd", "degradation=noise_blnd: unknown; did you mean degradation="),
        ("mix.tasks.rain.weight=-1", "mix.tasks.rain.weight: must be at least 0, got -1"),
        ("schedule.warmup=1", "schedule.warmup: must be less than 1, got 1"),
        ("optimizer.lr=0", "optimizer.lr: must be greater than 0, got 0"),
        ("optimizer.betas=[0.9,2]", "optimizer: Invalid beta parameter at index 1: 2.0"),
        ("restore.tile=33", "restore.tile: must be a multiple of 8, got 33"),
        ("logger.mode=onlin", 'logger.mode: "onlin" is not one of online, offline, disabled; did you mean online?'),
        ("train.precision=fp8", 'train.precision: "fp8" is not one of no, bf16'),
        ("device=gpu", 'device: "gpu" is not one of auto, cpu, cuda; did you mean cuda?'),
        ("benchmarks=[cbsd68_sigma26]", "benchmarks: 'cbsd68_sigma26' is unknown; did you mean cbsd68_sigma25?"),
        # grammar and sweeps
        ("study=a=b", "study=a=b: not valid as an override; a text of such"),
        ("seed=1,2", "seed: 1,2 is several values; write [1,2] for a list, or sweep over them with -m"),
        # targets
        ("model._target_=nix.Net", "model._target_: cannot import nix.Net: No module named 'nix'"),
        ("model._target_=daair.models.daair.DaAR", "model._target_: cannot import daair.models.daair.DaAR: "),
        ("model=custom", "model._target_: missing; set model._target_=..."),
        ("router._target_=json.nothing", "router._target_: cannot import json.nothing: json has no nothing"),
        ("train.steps=${sed}", "train.steps: Interpolation key 'sed' not found"),
        ("mix.benchmarks=[rain100]", "mix.benchmarks: 'rain100' is unknown; did you mean rain100l?"),
        ("schedule.foo=1", "schedule.foo: unknown; valid in schedule: _partial_"),
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
        (("router=oracle", "experts.count=1"), "experts.count: must be at least 5 with this router (one expert per"),
        (("model=daair_naf_tiny", "experts.count=1"), "experts.count: must be at least 5 with this router (one expert"),
        (("task=profile", "profile.models=[daair,smal]"), "profile.models: no smal; did you mean daair_small? ("),
        (("mix=aio3",), "mix.root: "),
        (
            ("experiment=rank", "mix.root=x", "collate.reference={label:3}"),
            "collate.reference: has other keys, which stay; put collate.reference=null before it to replace them",
        ),
        (("experts.rank=1000",), "experts.rank: "),
        (("model.heads=[1,2,4,7]",), "model.heads: "),
        (("experts.kernel=2",), "experts.kernel: must be odd, got 2"),
        (
            ("train.budget=20min", "train.epochs=9"),
            "train.epochs: unused with train.budget=20min; leave it out, or set train.budget=null",
        ),
        (
            ("train.epochs=9", "train.steps=9"),
            "train.steps: unused with train.epochs=9; leave it out, or set train.epochs=null",
        ),
        (
            ("train.budget=20min", "train.steps=9"),
            "train.steps: unused with train.budget=20min; leave it out, or set train.budget=null",
        ),
        (
            ("train.budget=20min", "train={workers: 0,steps:9}"),
            "train.steps: unused with train.budget=20min; leave it out, or set train.budget=null",
        ),
        (("model=airnet", "model.warmup.name=restoration"), "model: restoration is the name of two stages, which must"),
        (("model=airnet", "model.warmup.share=1.0"), "model: stage restoration, the last, has no part of the updates"),
        (("model=daair_naf_tiny", "router.pretraining.share=1.0"), "model: stage restoration, the last, has no part"),
        (
            ("train.budget=20min", "optimizer.lr=${train.steps}"),
            "optimizer.lr: refers to train.steps, which train.budget and train.epochs leave open",
        ),
        (
            ("train.progressive=[{share:1,batch_size:3}]", "launch.num_processes=2"),
            "train.progressive[0].batch_size: must be a multiple of launch.nodes x launch.num_processes (2), got 3",
        ),
        (("seed=-1", "train.steps=a", "experts.rnk=2"), 'train.steps: must be an integer, got "a"; seed: must be at l'),
        (("model._target_=torch.nn.Conv2d", "+model.args={out: 3}"), "model.out: unknown; did you mean model.out_chan"),
        (("model._target_=torch.nn.Conv2d", "++model.out_chanels=3"), "model.out_chanels: unknown; did you mean mod"),
        (("model._target_=torch.nn.Conv2d", "experts.rank=4"), "experts.rank: unused by model._target_=torch.nn.C"),
        (("model=identity", "experts.rank=4"), "experts.rank: unused by model=identity"),
        (("model=identity", "experts=spread", "seed=a"), "experts: unused by model=identity"),
        (("model=identity", "+router=top1"), "router: unused by model=identity"),
        (("optimizer._target_=torch.optim.Muon",), "optimizer: Muon only supports 2D parameters whereas we found"),
        (("optimizer._target_=torch.optim.LBFGS",), "optimizer: LBFGS.step() missing 1 required positional argumen"),
        ((f"schedule._target_={TORCH}.OneCycleLR",), "schedule: OneCycleLR.__init__() missing 1 required positional"),
        (
            (f"schedule._target_={TORCH}.OneCycleLR", "++schedule.max_lr=1", "++schedule.total_steps=9"),
            "schedule.total_steps: must be at least train.steps (534000), got 9",
        ),
        ((f"schedule._target_={TORCH}.ReduceLROnPlateau",), "schedule: ReduceLROnPlateau.step() missing 1 required"),
        ((f"schedule._target_={TORCH}.StepLR", "++schedule.stepsize=9"), "schedule.stepsize: unknown; did you mean s"),
        (
            ("schedule._target_=timm.scheduler.TanhLRScheduler", "++schedule={t_initial: 9, t_in_epochs: true}"),
            "schedule: timm.scheduler.TanhLRScheduler cannot be stepped once per update",
        ),
        (("train.init=/nix",), "train.init: /nix does not exist"),
        ((f"train.init='{__file__}'",), f"train.init: {__file__}: is not a weights file (it was written neither by"),
        (("train.init=daair_tinny",), "train.init: daair_tinny does not exist; did you mean daair_tiny?"),
        (("model=identity",), "model: has nothing to train; evaluate it with task=evaluate"),
        (("logger.project=me/rank",), 'logger.project: must not contain /, got "me/rank"'),
        (("logger.project='a:b#c'",), 'logger.project: must not contain # :, got "a:b#c"'),
        (("launch.devices=[0,-1]",), "launch.devices[1]: must be at least 0, got -1"),
        (("batch_size=4",), "batch_size: unknown; did you mean train.batch_size?"),
        (("hydra.nothing=1",), "hydra.nothing: "),
        (("degradation=rain",), "degradation: needs a place; write degradation@mix.tasks.haze.degrade=rain"),
        (("benchmarks=[mine]", "++benchmarks.mine.target=x"), "benchmarks: is a list here, and cannot have keys too"),
        (("~seed=1",), "seed: Could not delete from config. The value of 'seed' is 0 and not 1."),
        (("experts={rank: 4",), "experts={rank: 4: not valid as an override; it has 1 x { but 0 x }"),
        (('experts.rank="4',), 'experts.rank="4: not valid as an override; a quote " is not closed'),
        (("experts.rank==4",), "experts.rank==4: not valid as an override; write experts.rank=4"),
        (("experts..rank=4",), "experts..rank=4: not valid as an override; a dot too many; write experts.rank=4"),
        (("seed=1;mix=aio3",), "seed=1;mix=aio3: not valid as an override; write seed=1 mix=aio3"),
        (("seed=range(a)",), "seed=range(a): not valid as an override; range cannot have these arguments; write for"),
        (("seed=choise(1,2)",), "seed=choise(1,2): not valid as an override; there is no function choise; did you"),
        (("seed=range(3)",), "seed: range(3) is several values; sweep over them with -m"),
        (("+model=daair_tiny",), "model: exists already; leave out the +"),
        (("experts/rank=4",), "experts/rank: unknown config group; did you mean experts.rank?"),
        (("mix.tasks=[noise,rain]",), "mix.tasks: must be a mapping, got [noise,rain]"),
        (("model._target_=torch.nn.Linear", "+model.args={in_features: 64, out_features: 8}"), "model: Linear"),
        (("model._target_=torch.nn.Linear", "+model.args={in_features: 3, out_features: 3}"), "model: fails for"),
        (("hydra.sweeper.variants={a:{seed:1}}",), "hydra.sweeper.variants: is empty; to add keys, write +hydra.sweep"),
        (("preview.draws=1000000000",), "preview.draws: must be at most 10000, got 1000000000"),
        (("collate.resamples=1e12",), "collate.resamples: must be at most 10000000, got"),
        (("logger=[wandb,tensorbord]",), "logger=tensorbord: unknown; did you mean logger=tensorboard? (options: "),
        (("train.steps=1e24",), "train.steps: must be at most 1000000000, got 1"),
        (("mix.val_crops=1000000",), "mix.val_crops: must be at most 100000, got 1000000"),
        (("train.batch_size=1000000000",), "train.batch_size: 1000000000 crops of 64 x 64 pixels take 4.92e+04"),
        (("train.threads=1000000",), "train.threads: must be at most "),
        (("model.channels=100000000000000000000",), "model: is too large for this machine's memory"),
        (("mix.root=",), "mix.root: must not be empty"),
        (("path.runs=x",), "path.runs: unknown; did you mean paths.runs?"),
        (("optimizer.wd=0.1",), "optimizer.wd: unknown; valid in optimizer: _partial_, _target_, amsgrad, b"),
        (("train.best=val/psnr/rian",), "train.best: no task of the mix is called rian; did you mean rain?"),
        (("loss._target_=builtins.dict", "~loss.terms"), "loss._target_: builtins.dict makes a dict, not a torch.nn.M"),
        (("label=a=b",), "label=a=b: not valid as an override; a text of such characters is written in quotes: "),
        (("trust=mypkg",), 'trust: must be a list, got "mypkg"'),
    ],
)  # fmt: skip
def test_combinations(composer, overrides, text):
    assert complaint(composer, *overrides).startswith(text)


def test_all_problems_are_told_at_once(composer):
    assert len(complaint(composer, "seed=-1", "train.steps=a", "experts.rnk=2").split("; ")) >= 3


def test_a_problem_behind_an_alias_is_told_once_under_the_key_to_set(composer):
    assert complaint(composer, "experts.rank=x") == 'experts.rank: must be an integer, got "x"'


@pytest.mark.parametrize(
    "override", ["study=2024", "train.precision=no", "optimizer.lr=1", "train.clip_grad=null", "control=none"]
)
def test_accepted(composer, override):
    compose(composer, override)


def test_a_foreign_model_gets_its_arguments_and_nothing_else(composer):
    args = "{in_channels: 3, out_channels: 3, kernel_size: 1}"
    foreign = partial(compose, composer, "model._target_=torch.nn.Conv2d")
    custom = foreign("model=custom", f"model.args={args}")
    assert custom.model == {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 1}
    assert custom.parts == {}
    beside = ("++model.in_channels=3", "++model.out_channels=3", "++model.kernel_size=1")
    for same in (foreign(f"+model.args={args}"), foreign(*beside), foreign("model=custom", *beside)):
        assert same.model == custom.model
        assert config_id(same) == config_id(custom)
        assert not same.choices.keys() & {"experts", "router", "control"}


def test_another_class_in_the_place_of_an_option_keeps_the_arguments_that_it_has(composer):
    config = compose(composer, *TINY, "optimizer._target_=torch.optim.SGD", "++optimizer.momentum=0.5")
    assert config.optimizer == {
        "_target_": "torch.optim.SGD", "_partial_": True, "lr": 2e-4, "weight_decay": 0.01, "fused": True,
        "momentum": 0.5,
    }  # fmt: skip


PACKAGE = """
from typing import Annotated
from annotated_types import Gt
from torch import nn

class Norm(nn.Module):
    def __init__(self, channels: int, eps: Annotated[float, Gt(0)] = 1e-5):
        super().__init__()

class Net(nn.Conv2d):
    def __init__(self, norm, width: int = 3):
        super().__init__(3, width, 1)
        self.norm = norm(width)
"""


@pytest.fixture
def plugged(tmp_path, monkeypatch) -> Composer:
    """A further folder of configs: a model with a part group that the lab does not know."""
    files = {
        "normpkg.py": PACKAGE,
        "norm/plain.yaml": "_target_: normpkg.Norm\n_partial_: true\neps: 1.0e-5\n",
        "norm/coarse.yaml": "_target_: normpkg.Norm\n_partial_: true\neps: 1\n",
        "model/mynet.yaml": "defaults: [/norm@_global_.norm: plain, _self_]\n"
        "_target_: normpkg.Net\nnorm: ${norm}\nwidth: 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Composer(conf_dir(), config_dir=str(tmp_path))


def test_a_part_group_is_what_a_model_interpolates(plugged):
    config = compose(plugged, "model=mynet", "norm=coarse")
    assert config.parts == {"norm": {"_target_": "normpkg.Norm", "_partial_": True, "eps": 1.0}}
    assert config.parts["norm"] == config.model["norm"] and "router" not in config.parts
    assert config.choices["norm"] == "coarse" and "router" not in config.choices
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    ids = {config_id(compose(plugged, "model=mynet", *more)) for more in ([], ["norm.eps=0.1"], ["norm=coarse"])}
    assert len(ids) == 3
    for overrides, text in {
        ("norm.eps=0",): "norm.eps: must be greater than 0, got 0",
        ("norm.esp=1",): "norm.esp: unknown; did you mean norm.eps?",
        ("norm=fine",): "norm=fine: unknown (options: coarse, plain)",
        ("model.norm.eps=1",): "model.norm.eps: set norm.eps instead",
        ("experts.rank=4",): "experts.rank: unused by model=mynet",
    }.items():
        assert complaint(plugged, "model=mynet", *overrides) == text
    assert complaint(plugged, "norm.eps=1") == "norm.eps: unused by model=daair"


def test_a_class_of_ones_own_is_checked_by_its_signature(plugged):
    own = ("model=daair_tiny", "router._target_=normpkg.Norm")  # takes channels, but no count
    assert complaint(plugged, *own, "++router.eps=x") == 'router.eps: must be a number, got "x"'
    assert "got an unexpected keyword argument 'count'" in complaint(plugged, *own)


def test_a_class_in_the_place_of_an_option_names_the_run(composer):
    over = ("model._target_=torch.nn.Conv2d", "++model.args={in_channels: 3, out_channels: 3, kernel_size: 1}")
    assert run_name(compose(composer, *over)).split("/")[1].startswith("Conv2d-demo-")
    assert run_name(compose(composer, "model=custom", *over)).split("/")[1].startswith("custom-demo-")


def test_keys_of_earlier_versions_are_refused_with_the_new_ones():
    assert moved("mix.weights.rain") == "mix.tasks.rain.weight"
    assert moved("mix.degradations.noise15.sigma") == "mix.tasks.noise15.degrade.sigma"
    assert moved("mix.repeats") == "mix.tasks.NAME.repeats"
    assert moved("mix.repeats.clean") == "mix.synthetic_repeats"
    assert moved("mix.source") is None and moved("mix.source.rain", ["mix.source"]) == "mix.tasks.rain.source"
    assert moved("mix.patch") is None
    assert str(explain_key("loss.router", ["loss.l1"])) == "loss.router: unknown; it is loss.terms.router now"


def test_weights_to_start_from_are_part_of_the_id_by_what_they_are(composer, tmp_path):
    def of(content: bytes, *path: str) -> str:
        file = tmp_path.joinpath(*path)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        init = f"train.init={file.parent if len(path) > 1 else file}"
        return config_id(validate(composer.compose([*TINY, init])))

    ids = [of(b"1", "a.safetensors"), of(b"2", "a.safetensors"), of(b"1", "b.safetensors"), of(b"1", "run", WEIGHTS)]
    assert ids[0] == ids[2] == ids[3] != ids[1]
    assert config_id(compose(composer, *TINY)) not in ids


def test_root_config_and_schema_name_the_same_keys(composer):
    def keys(node: dict, schema: type[BaseModel], prefix: str = "") -> set[str]:
        found = set()
        for name, value in node.items():
            found.add(prefix + name)
            field = schema.model_fields[name].annotation
            if isinstance(value, dict) and isinstance(field, type) and issubclass(field, BaseModel):
                found |= keys(value, field, f"{prefix}{name}.")
        return found

    cfg = OmegaConf.to_container(composer.compose(["model=identity", "logger=[wandb,tensorboard]"]), resolve=False)
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
    with pytest.raises(ConfigError, match="^model: must be a mapping, got 3; .*router: unknown"):
        Config.from_dict({**data, "model": 3})

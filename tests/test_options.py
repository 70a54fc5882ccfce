"""Every option of every config group composes, is valid, builds, and takes one training step."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT, SMALL, composed, make_photographs
from PIL import Image

from daair import checkpoint, components
from daair.config.schema import Config
from daair.config.tasks import TASKS
from daair.config.validate import validate
from daair.losses import total_loss
from daair.models import training
from daair.models.training import Learner, Stage
from daair.optim import make_schedule

# A group's files go into the key of its name; those of studies, scales and Hydra itself go elsewhere.
CONF = ROOT / "conf"
FILES = [file for file in sorted(CONF.glob("*/*.yaml")) if "@package _global_" not in file.read_text()]
FILES = [file for file in FILES if "." not in file.stem and file.parent.name != "reference"]  # tables and headings
FILES += sorted(CONF.glob("mix/task/*.yaml"))
OPTIONS = [(str(file.parent.relative_to(CONF)), file.stem) for file in FILES]
MODELS = {file.stem: file.read_text() for file in FILES if file.parent.name == "model"}

TRAINABLE = [option for option in OPTIONS if option != ("model", "identity")]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_photographs(tmp_path_factory.mktemp("photographs"), count=3, size=40)
    (root / "degraded" / "clean").mkdir(parents=True)
    for file in (root / "train" / "clean").iterdir():
        Image.open(file).point(lambda value: value // 2).save(root / "degraded" / "clean" / file.name)
    return root


def config(group: str, option: str, root: Path) -> Config:
    kept = [o for o in SMALL if not o.startswith(f"{group}=") and not (group == "model" and o.startswith("model."))]
    if (group, option) == ("model", "custom"):
        kept += ["model._target_=torch.nn.Conv2d", "model.args={in_channels:3,out_channels:3,kernel_size:1}"]
    with_part = [name for name, text in MODELS.items() if f"/{group}@" in text]
    with_option = [name for name, text in MODELS.items() if re.search(rf"/{group}@\S+: {option}\b", text)]
    models = with_part if group == "control" else with_option or with_part  # each control fits every such model
    if models and "daair" not in models:  # a part or an option that only other models have
        kept = [o for o in kept if not o.startswith(("model", "experts"))]
        kept += [f"model={models[0]}", "model.channels=8"]
    if group == "model" and "/experts@" not in MODELS[option] and "- daair\n" not in MODELS[option]:
        kept = [o for o in kept if not o.startswith("experts")]
    # In the place of another one:
    places = {"degradation": "degradation@mix.tasks.noise15.degrade", "mix/task": "mix/task@mix.tasks.noise15"}
    group = places.get(group, group)
    if (group, option) == ("mix", "paired"):
        kept += [
            f"mix.tasks.paired.pairs.{part}={name}/clean" for part, name in (("input", "degraded"), ("target", "train"))
        ]
    if (group, option) == ("logger", "tensorboard"):
        kept.remove("logger.mode=disabled")  # that of Weights & Biases, which is absent
    if group == "task":
        values = {"runs": "[x,y]", "action": "list"}
        kept += [f"{key}={values.get(key, 'x')}" for key in TASKS[option].takes]
    if (group, option) == ("control", "none"):
        kept += ["experts.agnostic=false"]  # together: the decoder needs no agnostic expert
    return validate(composed(f"{group}={option}", *kept, f"mix.root={root}", "mix.cache=null"), {})


@pytest.mark.parametrize(("group", "option"), TRAINABLE, ids=lambda value: value)
def test_option_takes_a_step(group: str, option: str, photographs: Path) -> None:
    torch.manual_seed(0)
    cfg = config(group, option, photographs)
    model = checkpoint.build(cfg.model).train()
    criterion = components.build(cfg.loss)
    optimizer = components.build(cfg.optimizer)(p for p in model.parameters() if p.requires_grad)
    schedule = make_schedule(cfg.schedule, optimizer, cfg.train.steps)
    mix = components.build(cfg.mix)
    dataset = mix.train_dataset(seed=0, views=training.views(model))
    batch = torch.utils.data.default_collate([dataset[k] for k in range(4)])
    before = [p.clone() for p in model.parameters()]

    learned = Learner(model, Stage())(batch)
    if learned.gates is not None:
        assert learned.gates.shape[1:] == (4, cfg.model.get("expert_count") or cfg.parts["experts"]["count"])
    loss, _ = total_loss(criterion, learned.image, batch["target"], learned.terms)
    loss.backward()
    optimizer.step()
    schedule.step_update(1)
    if hasattr(model, "after_update"):
        model.after_update()

    assert torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_option_says_what_it_is(group: str, option: str) -> None:
    text = (ROOT / "conf" / group / f"{option}.yaml").read_text()
    assert text.startswith("# ") and len(text.splitlines()[0]) > 20
    assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [("daair", (6.0e6, 7.0e6), 17.0), ("daair_small", (1.3e6, 1.7e6), 5.0), ("daair_tiny", (0.3e6, 0.5e6), 2.0)],
)
def test_published_class_of_sizes(name: str, parameters: tuple[float, float], gmacs: float) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    cfg = validate(composed(f"model={name}"), {})
    model = checkpoint.build(cfg.model).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.rand(1, 3, 224, 224))
    assert parameters[0] <= model.num_parameters() <= parameters[1]
    assert counter.get_total_flops() / 2e9 <= gmacs


def test_golden_loss_of_the_first_steps(photographs: Path) -> None:
    """Three updates of a fixed network on fixed images: a change here means trained results change."""
    cfg = config("loss", "l1_fft", photographs)
    torch.manual_seed(0)
    model = checkpoint.build(cfg.model).train()
    criterion = components.build(cfg.loss)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    dataset = components.build(cfg.mix).train_dataset(seed=0)
    losses = []
    for step in range(3):
        batch = torch.utils.data.default_collate([dataset[4 * step + k] for k in range(4)])
        torch.manual_seed(step)
        learned = model.routed(batch["input"], batch["label"])
        loss, parts = total_loss(criterion, learned.image, batch["target"], learned.terms)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_update()
        losses.append(parts["l1"].item())
    assert losses == pytest.approx(GOLDEN, rel=2e-3), losses


GOLDEN = [0.105797, 0.111084, 0.078891]

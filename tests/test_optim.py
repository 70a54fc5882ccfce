"""Schedules: their course, and resuming in the middle gives the rates that going through would have given."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from daair.models.experts import ExpertBank
from daair.optim import make_schedule, muon

STEPS = 100
PEAK = 0.5


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK, momentum=0.9)


def rates(node: dict, steps: int = STEPS, resume: int = 0) -> list[float]:
    """Learning rates of all updates from `resume` on, which is reached as a killed training reaches it."""
    first = optimizer()
    schedule = make_schedule({"_partial_": True, **node}, first, steps)
    for update in range(1, resume + 1):
        first.step()
        schedule.step_update(update)
    if resume:
        state, first = first.state_dict(), optimizer()
        schedule = make_schedule({"_partial_": True, **node}, first, steps)
        first.load_state_dict(state)
        schedule.step_update(resume)
    seen = []
    for update in range(resume, steps):
        seen.append(first.param_groups[0]["lr"])
        first.step()
        schedule.step_update(update + 1)
    return seen


def ours(name: str, **arguments) -> dict:
    return {"_target_": f"daair.optim.{name}", **arguments}


def torchs(name: str, **arguments) -> dict:
    return {"_target_": f"torch.optim.lr_scheduler.{name}", **arguments}


def test_courses():
    falling = rates(ours("linear", warmup=0.0, final=0.0))
    assert falling == pytest.approx([PEAK * (1 - k / STEPS) for k in range(STEPS)])
    steps = rates(ours("step", drops=[0.5, 0.9], factor=0.1))
    assert steps == pytest.approx([PEAK] * 50 + [PEAK / 10] * 40 + [PEAK / 100] * 10)
    assert rates(ours("constant")) == [PEAK] * STEPS
    cosine = rates(ours("cosine", warmup=0.1, final=0.1))
    assert max(cosine) == cosine[10] == PEAK and cosine[0] == PEAK / 10 and cosine[-1] == pytest.approx(0.05, rel=0.01)


def test_a_cosine_laid_out_for_more_updates_ends_above_zero():
    """MoCE-IR's: 15 epochs of warm-up, 150 of the cosine, of which 120 are trained."""
    published = rates(ours("cosine", warmup=0.12, final=0.0, length=1.25))
    assert published.index(PEAK) == 12
    assert published[-1] / PEAK == pytest.approx(0.5 * (1 + math.cos(math.pi * (99 - 12) / (125 - 12))), rel=1e-6)


@pytest.mark.parametrize("name", ["cosine", "linear", "step", "constant"])
def test_all_warm_up_alike(name):
    assert rates(ours(name, warmup=0.2))[:20] == pytest.approx([PEAK * (k / 20 + (1 - k / 20) / 20) for k in range(20)])


TORCHS = [
    torchs("StepLR", step_size=7),
    torchs("ExponentialLR", gamma=0.9),
    torchs("CosineAnnealingLR", T_max=STEPS),
    torchs("OneCycleLR", max_lr=1.0, total_steps=STEPS),
    torchs("CyclicLR", base_lr=0.1, max_lr=1.0, step_size_up=9),
]


@pytest.mark.parametrize("node", TORCHS, ids=lambda node: node["_target_"].rpartition(".")[2])
@pytest.mark.filterwarnings("error")
def test_torch_schedulers_are_stepped_once_per_update_and_resume(node):
    first = optimizer()
    arguments = {name: value for name, value in node.items() if name != "_target_"}
    scheduler = getattr(lr_scheduler, node["_target_"].rpartition(".")[2])(first, **arguments)
    expected = []
    for _ in range(STEPS):
        expected.append(first.param_groups[0]["lr"])
        first.step()
        scheduler.step()
    assert rates(node) == expected
    for resume in (1, 40):
        assert rates(node, resume=resume) == expected[resume:]


def test_schedulers_of_timm_count_updates():
    poly = rates({"_target_": "timm.scheduler.PolyLRScheduler", "t_initial": STEPS, "power": 1.0})
    assert poly == pytest.approx([PEAK * (1 - k / STEPS) for k in range(STEPS)])
    with pytest.raises(ValueError, match="cannot be stepped once per update"):
        rates({"_target_": "timm.scheduler.PolyLRScheduler", "t_initial": STEPS, "t_in_epochs": True})


def test_a_schedule_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"^schedule.total_steps: must be at least train.steps \(100\), got 99"):
        rates(torchs("OneCycleLR", max_lr=1.0, total_steps=99))


def test_muon_takes_matrices_and_convolutions_and_leaves_banks_of_experts_to_adamw() -> None:
    shapes = {"matrix": (6, 8), "convolution": (4, 3, 3, 3), "bank": (5, 6, 2), "scale": (1, 8, 1, 1), "bias": (6,)}
    torch.manual_seed(0)
    made = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    optimizer = muon(made.values(), lr=0.1, weight_decay=0.0)
    before = {name: parameter.detach().clone() for name, parameter in made.items()}
    for parameter in made.values():
        parameter.grad = torch.randn_like(parameter)
    signs = {name: parameter.grad.sign() for name, parameter in made.items()}
    optimizer.step()
    updates = {name: (before[name] - parameter).detach() for name, parameter in made.items()}
    like_adamw = {  # whose first update is a sign
        name for name, update in updates.items() if torch.allclose(update, update.abs().max() * signs[name], rtol=1e-3)
    }
    assert like_adamw == {"bank", "scale", "bias"}
    singular = torch.linalg.svdvals(updates["matrix"])
    assert singular.max() / singular.min() < 3, "the update of a matrix is nearly orthogonal"
    assert muon([made["bias"]], lr=0.1).param_groups[0]["use_fallback"], "a network may have no matrix"


@pytest.mark.parametrize("depthwise", [True, False])
def test_muon_leaves_every_stack_of_daairs_experts_to_adamw(depthwise: bool) -> None:
    bank, other = ExpertBank(8, (4,) * 5, depthwise=depthwise), torch.nn.Linear(8, 8, bias=False)
    by_muon = [g["params"] for g in muon([*bank.parameters(), *other.parameters()]).param_groups if not fallback(g)]
    assert by_muon == [[other.weight]]


def fallback(group: dict) -> bool:
    return group.get("use_fallback", False)


def test_muon_trains_after_its_state_was_stored() -> None:
    parameter = torch.nn.Parameter(torch.ones(3, 4))
    first = muon([parameter], lr=0.1)
    parameter.grad = torch.ones(3, 4)
    first.step()
    again = muon([parameter], lr=0.1)
    again.load_state_dict(first.state_dict())
    again.step()

"""Learning-rate schedules with one interface for the training loop, and the optimizer Muon for networks with experts.

The loop only calls `step_update(updates)`, once after each update. Schedulers of timm have this method; `TorchSchedule`
adds it to those of torch. Schedulers are not passed to Accelerate, which would step those of torch once per process.
"""

import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Protocol

from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from daair.components import build, locate
from daair.submodules import submodule

Warmup = Annotated[float, Interval(ge=0, lt=1)]
Fraction = Annotated[float, Interval(ge=0, le=1)]


class Schedule(Protocol):
    """The interface of a schedule for the training loop."""

    def step_update(self, updates: int) -> None:
        """Set the learning rate to its value after `updates` updates."""


def muon(
    params: Iterable[Tensor],
    lr: Annotated[float, Ge(0)] = 2e-4,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    momentum: Fraction = 0.95,
    nesterov: bool = True,
    adjust_lr_fn: Literal["match_rms_adamw", "original", "rms_to_rms"] = "match_rms_adamw",
    conv_mode: Literal["flatten", "batched"] = "flatten",
    betas: tuple[Fraction, Fraction] = (0.9, 0.95),
) -> Optimizer:
    """Return timm's Muon for matrices and convolutions, with its AdamW for all other parameters.

    Left to itself, timm's takes all of two or more dimensions for matrices: the stacks of a bank of experts, such as
    (N, rank, in) or (N, rank), for one with a row for each expert, whose updates it would make orthogonal to each
    other, and the scales of channels (1, C, 1, 1) for one of a single row.

    Args:
        params: Parameters of a network.
        lr: Learning rate of both.
        weight_decay: Decoupled decay, per unit of learning rate.
        momentum: Decay of the average of gradients.
        nesterov: Whether to look ahead by the momentum.
        adjust_lr_fn: How updates are scaled, see timm.
        conv_mode: Whether a convolution is one matrix (out, in k k), or one (out, in) for each pixel of the kernel.
        betas: Of AdamW.
    """
    params = list(params)
    banks = {id(p) for p in params if getattr(p, "is_bank", p.dim() not in (2, 4))}
    matrices = [p for p in params if id(p) not in banks and min(len(p), p[0].numel()) > 1]
    chosen = set(map(id, matrices))
    others = [p for p in params if id(p) not in chosen]
    groups = [{"params": matrices}, {"params": others, "use_fallback": True}]
    return submodule("timm.optim.muon").Muon(
        [group for group in groups if group["params"]],
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=nesterov,
        adjust_lr_fn=adjust_lr_fn,
        conv_mode=conv_mode,
        betas=betas,
    )


def make_schedule(node: Mapping[str, Any], optimizer: Optimizer, steps: int) -> Schedule:
    """Build the schedule that a config node describes.

    Args:
        node: The config `schedule`; its target gets `optimizer`, and `steps` if it has such a parameter.
        optimizer: The optimizer, whose learning rate is the peak.
        steps: The total number of updates.

    Raises:
        ValueError: The schedule cannot be stepped once per update.
    """
    supplied = {"steps": steps, "t_in_epochs": False}  # timm's schedulers count epochs by default
    parameters = inspect.signature(locate(node["_target_"])).parameters
    supplied = {name: value for name, value in supplied.items() if name in parameters and name not in node}
    schedule = build(node)(optimizer, **supplied)
    if isinstance(schedule, LRScheduler):
        if (total := getattr(schedule, "total_steps", steps)) < steps:
            raise ValueError(f"schedule.total_steps: must be at least train.steps ({steps}), got {total}")
        return TorchSchedule(schedule)
    if not hasattr(schedule, "step_update") or getattr(schedule, "t_in_epochs", False):
        raise ValueError(f"{node['_target_']} cannot be stepped once per update: step_update(updates) is called")
    return schedule


class TorchSchedule:
    """A scheduler of torch with the interface `Schedule`."""

    def __init__(self, schedule: LRScheduler) -> None:
        self.schedule, self.updates = schedule, 0
        groups = schedule.optimizer.param_groups
        self.first = [{name: value for name, value in group.items() if name != "params"} for group in groups]

    def step_update(self, updates: int) -> None:
        """Step the scheduler until `updates`; after a resume this repeats all steps from the beginning."""
        with warnings.catch_warnings():
            if self.updates == 0:
                # A resumed optimizer holds a later learning rate, to which some schedulers would apply factors again.
                for group, first in zip(self.schedule.optimizer.param_groups, self.first, strict=True):
                    group.update(first)
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for _ in range(self.updates, updates):
                self.schedule.step()
        self.updates = max(self.updates, updates)


def cosine(
    optimizer: Optimizer,
    steps: int,
    warmup: Warmup = 0.03,
    final: Fraction = 0.01,
    length: Annotated[float, Ge(1)] = 1.0,
) -> Schedule:
    """Return a schedule of a linear warm-up and then half a cosine.

    Args:
        optimizer: The optimizer, whose current learning rate is the peak.
        steps: The total number of updates.
        warmup: The length of the warm-up as a fraction of `steps`; it begins near zero.
        final: The learning rate at the end of the cosine as a fraction of the peak.
        length: The number of updates that warm-up and cosine are laid out for, as a multiple of `steps`; above 1 the
            training ends before the cosine does.
    """
    timm = submodule("timm.scheduler.cosine_lr")
    rise, peak = _rise(optimizer, steps, warmup), _peak(optimizer)
    # For a single update timm would warn that the schedule has no effect.
    return timm.CosineLRScheduler(
        optimizer, t_initial=max(2, round(length * steps) - rise["warmup_t"]), lr_min=final * peak, **rise
    )


def linear(optimizer: Optimizer, steps: int, warmup: Warmup = 0.03, final: Fraction = 0.0) -> Schedule:
    """Return a schedule of a linear warm-up and then a linear decay; the arguments are those of `cosine`."""
    timm = submodule("timm.scheduler.poly_lr")
    rise, peak = _rise(optimizer, steps, warmup), _peak(optimizer)
    return timm.PolyLRScheduler(
        optimizer, t_initial=max(2, steps - rise["warmup_t"]), power=1.0, lr_min=final * peak, **rise
    )


def step(
    optimizer: Optimizer,
    steps: int,
    warmup: Warmup = 0.0,
    drops: tuple[Fraction, ...] = (0.5, 0.8, 0.9, 0.95),
    factor: Annotated[float, Gt(0)] = 0.5,
) -> Schedule:
    """Return a schedule of a linear warm-up and then a constant rate that drops at given times.

    Args:
        optimizer: The optimizer, whose current learning rate is the peak.
        steps: The total number of updates.
        warmup: The length of the warm-up as a fraction of `steps`; it begins near zero.
        drops: The times of the drops as fractions of `steps`.
        factor: The factor on the learning rate at each drop.
    """
    timm = submodule("timm.scheduler.multistep_lr")
    rise = _rise(optimizer, steps, warmup)
    times = sorted(round(drop * steps) - rise["warmup_t"] + 1 for drop in drops)  # timm drops one update early
    return timm.MultiStepLRScheduler(optimizer, decay_t=times, decay_rate=factor, **rise)


def constant(optimizer: Optimizer, steps: int, warmup: Warmup = 0.0) -> Schedule:
    """Return a schedule of a linear warm-up and then a constant rate; the arguments are those of `cosine`."""
    return step(optimizer, steps, warmup, drops=())


def _peak(optimizer: Optimizer) -> float:
    return optimizer.param_groups[0]["lr"]


def _rise(optimizer: Optimizer, steps: int, warmup: float) -> dict[str, Any]:
    """Return the arguments with which timm's schedulers warm up and count updates."""
    rising = round(warmup * steps)
    first = _peak(optimizer) / max(1, rising)
    return {"warmup_t": rising, "warmup_lr_init": first, "warmup_prefix": True, "t_in_epochs": False}

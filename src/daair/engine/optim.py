"""The learning-rate schedule."""

from typing import Annotated

from annotated_types import Interval
from torch.optim import Optimizer


def cosine(
    optimizer: Optimizer,
    steps: int,
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.03,
    final: Annotated[float, Interval(ge=0, le=1)] = 0.01,
):
    """Linear warm-up, then half a cosine; stepped once per optimizer update with `step_update(updates)`.

    timm's scheduler, because Accelerate leaves it alone: a prepared torch scheduler is stepped once per process.

    Args:
        optimizer: its current learning rate is the peak.
        steps: updates in all.
        warmup: fraction of `steps` spent rising from (almost) zero.
        final: learning rate at the end, as a fraction of the peak.
    """
    from timm.scheduler import CosineLRScheduler

    peak = optimizer.param_groups[0]["lr"]
    rising = round(warmup * steps)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(2, steps - rising),  # of a single update timm would warn that it has no effect
        lr_min=final * peak,
        warmup_t=rising,
        warmup_lr_init=peak / max(1, rising),
        warmup_prefix=True,
        t_in_epochs=False,
    )

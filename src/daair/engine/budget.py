"""Trains for epochs or a time: how many updates are `train.epochs`, or fit into `train.budget` on this machine.

A learning-rate schedule must know its length before the first update. So a run with a budget begins with throw-away
updates of its own network on its own images; what they took gives `train.steps`, and training starts afresh from its
seed, as if the number had been set. It is noted in the run's folder, with the hardware; a resumed run reads it there.

The time is that of the updates: forward and backward pass, optimizer, moving average. Neither the measurement counts,
nor waiting for samples, validations, checkpoints and the evaluation. With one thread on a CPU it is the process's own
time, so that other programs on the machine do not shorten a training; it then includes the loading of samples with
`train.workers=0`, in the same process. Parts of the training whose updates differ in cost, such as AirNet's stages, are
measured one by one and keep their shares of the updates.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import torch
from accelerate.utils import broadcast_object_list

from daair import checkpoint
from daair.config.accepted import seconds
from daair.config.schema import Config
from daair.engine.devices import describe
from daair.engine.loader import Batches
from daair.engine.setup import Session
from daair.engine.stages import Span, spans
from daair.errors import UserError
from daair.runs.environment import hardware
from daair.runs.record import Record

PLAN = 1_000_000  # updates of the training that is measured: the places of its parts are exact to a millionth
WARM_UP = 5  # updates that are not measured
SHARE, SHORTEST, LONGEST = 0.02, 1.0, 30.0  # part of the budget that is measured, and its limits in seconds
LEAST = 5  # measured updates of each part


@dataclass(frozen=True)
class Speed:
    """How fast a part of the training is.

    Attributes:
        stage: name of the stage.
        patch: height and width of the crops; None for those of the mix.
        batch_size: images of a micro-batch, over all processes.
        share: the part of all updates.
        updates: how many were measured.
        seconds: of an update, on average.
    """

    stage: str
    patch: int | None
    batch_size: int
    share: float
    updates: int
    seconds: float


class Clock:
    """The time of one update, from its construction on.

    Args:
        device: where the update is made.
        batches: the batches of the training; time spent waiting for them is not counted, except where the process's own
            time is measured, which does not run while it waits.
    """

    def __init__(self, device: torch.device, batches: Batches) -> None:
        self._own = device.type == "cpu" and torch.get_num_threads() == 1
        self._batches = batches
        self._began = self._now()

    def seconds(self) -> float:
        """Return the seconds since the construction."""
        return self._now() - self._began

    def _now(self) -> float:
        return time.process_time() if self._own else time.monotonic() - self._batches.waited


def settled(cfg: Config, record: Record, samples: int) -> Config:
    """Return a config with the updates that it comes to, as far as they are known before the training.

    Args:
        cfg: of a run; with `train.epochs` the updates follow from its mix, with `train.budget` they were measured
            earlier, or are not known yet.
        record: of the run.
        samples: of an epoch.
    """
    if cfg.train.epochs is not None:
        network = checkpoint.build(cfg.model)  # which may have stages with batches of their own
        images = spans(network, with_steps(cfg, PLAN).train)[-1].images(PLAN) / PLAN  # of an update, on average
        return with_steps(cfg, max(1, round(cfg.train.epochs * samples / images)))
    known = record.summary().get("budget")
    return with_steps(cfg, known["steps"]) if cfg.train.budget is not None and known else cfg


def with_steps(cfg: Config, steps: int) -> Config:
    """Return a config that trains for a number of updates."""
    return cfg.model_copy(update={"train": cfg.train.model_copy(update={"steps": steps})})


def resolve(session: Session, measure: Callable[[Config, float], Iterable[Speed]]) -> Session:
    """Return a session whose config has the updates that its budget allows, measured and noted if they were not yet.

    Args:
        session: of a run that is to be trained.
        measure: makes throw-away updates of the training that a config describes, of each of its parts for so many
            seconds.

    Raises:
        UserError: not even one update fits.
    """
    cfg, budget = session.cfg, session.cfg.train.budget
    if cfg.train.steps is not None:
        return session
    total = seconds(budget)
    session.reporter.say(f"measuring how many updates fit into train.budget={budget}")
    speeds = list(measure(with_steps(cfg, PLAN), min(max(SHARE * total, SHORTEST), LONGEST)))
    session.accelerator.free_memory()
    (steps,) = broadcast_object_list([updates_within(total, speeds)])  # the clocks of the processes differ
    if not steps:
        raise UserError(f"train.budget: {budget} is less than an update takes ({_mean(speeds):.2g} s)")
    device = describe(session.accelerator.device, session.accelerator.num_processes)
    machine = hardware(device, session.record.environment().get("processor"))
    rate = 1 / _mean(speeds)
    noted = {"time": budget, "steps": steps, "updates_per_second": round(rate, 4), "hardware": machine}
    session.record.summarise(budget={**noted, "parts": [asdict(speed) for speed in speeds]})
    session.record.update(steps=steps)
    session.reporter.say(f"{steps} updates fit into {budget}: {rate:.4g} updates/s on {machine}")
    return replace(session, cfg=with_steps(cfg, steps))


def updates_within(total: float, speeds: Iterable[Speed]) -> int:
    """Return how many updates fit into so many seconds, each part having its share of them."""
    return int(total / _mean(speeds))


def timed(span: Span, update: Callable[[int], float], time: float) -> Speed:
    """Return how fast the updates of a span are, measured over about `time` seconds.

    Args:
        span: with more updates than are made.
        update: makes the update of this number and returns the seconds that it took.
        time: seconds to measure.
    """
    begin = span.first + WARM_UP
    *_, last = (update(step) for step in range(span.first, begin))
    (count,) = broadcast_object_list([max(LEAST, int(time / max(last, 1e-6)))])
    mean = sum(update(step) for step in range(begin, begin + count)) / count
    share = (span.stop - span.first) / PLAN
    return Speed(span.stage.name, span.patch, span.batch_size, share, count, round(mean, 6))


def _mean(speeds: Iterable[Speed]) -> float:
    """Return the seconds of an update, on average over the training."""
    return sum(speed.share * speed.seconds for speed in speeds)

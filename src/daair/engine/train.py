"""Train a network; `python run.py` calls `train`.

The samples, noise and learning rate of an update depend on its number alone. A killed run that is started again
therefore ends with the same weights to the last bit (on a CPU).
"""

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from daair import checkpoint, components
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.data.mix import Mix
from daair.data.order import StepSampler
from daair.engine import budget, checkpoints
from daair.engine.averaging import Averaged
from daair.engine.beginning import begin
from daair.engine.best import Best, check_figure
from daair.engine.costs import costs
from daair.engine.data import check_finished, check_same_data, prepared_mix
from daair.engine.devices import tf32
from daair.engine.divergence import Update, diverged, updates_ago
from daair.engine.evaluate import finish
from daair.engine.loader import Batches, make_loader
from daair.engine.mirrors import mirrors_of
from daair.engine.progress import ProgressBar, Reporter
from daair.engine.setup import (
    Session,
    Stop,
    change_of_processes,
    ending_noted,
    make_accelerator,
    reseed,
    seconds_to_stop,
)
from daair.engine.stages import Span, spans
from daair.engine.validate import validate
from daair.errors import UserError
from daair.exits import end_within
from daair.files import file_digest
from daair.losses import total_loss
from daair.models import training
from daair.models.processes import take_from_first
from daair.optim import make_schedule
from daair.runs.record import Record


def train(job: Job) -> int:
    """Train, evaluate and record one run, or resume it, and return the exit status."""
    cfg = job.config
    accelerator = make_accelerator(cfg, training=True)
    reporter = Reporter(accelerator.is_main_process)
    record = Record(job.folder, writer=accelerator.is_main_process)
    trained = record.status().state == "done"  # then its images are not needed any more
    # Unusable data fail here, before the run's folder exists.
    mix = components.build(cfg.mix) if trained else prepared_mix(cfg, reporter)
    if not trained:
        check_figure(cfg.train, mix)
    with record.lock():
        if trained != (record.status().state == "done"):
            raise UserError(f"{record.folder}: another process began or ended it meanwhile; give the command again")
        session = Session(cfg, record, accelerator, reporter)
        if trained:
            check_finished(record, cfg, reporter)
        else:
            check_same_data(record, mix)
            session = replace(session, cfg=budget.settled(cfg, record, sum(mix.samples().values())))
        if not begin(session, mix, job):
            return finish(session, mix.labels, record.status().step)
        mirrors, exit_code = mirrors_of(cfg, record, reporter), 1
        try:
            session = replace(session, mirrors=mirrors)
            with ending_noted(session):
                if trained:
                    mirrors.catch_up(record.metrics())
                status, done = (0, record.status().step) if trained else updated(session, mix)
                exit_code = status or finish(session, mix.labels, done)
            return exit_code
        finally:
            mirrors.keep(record)
            mirrors.finish(exit_code, None if exit_code == 0 else seconds_to_stop(cfg) / 2)
            end_within(None)


def updated(session: Session, mix: Mix) -> tuple[int, int]:
    """Make all updates of a run and return the exit status and their number."""
    with tf32(session.cfg.train.tf32):  # also for the updates that a budget measures, which must take as long
        session = budget.resolve(session, lambda plan, time: trial(plan, session, mix, time))
        trainer = Trainer(session, mix)
        return trainer.complete(), trainer.done


def trial(cfg: Config, session: Session, mix: Mix, seconds: float) -> list[budget.Speed]:
    """Return how fast each part of a training is, by throw-away updates of some seconds."""
    train = cfg.train.model_copy(update={"init": None})  # the weights do not change the time
    quiet = replace(session, cfg=cfg.model_copy(update={"train": train}), reporter=Reporter(active=False))
    return Trainer(quiet, mix).speeds(seconds)


class Trainer:
    """The network of one run, and the loop over its updates."""

    def __init__(self, session: Session, mix: Mix) -> None:
        self.session, self.mix, cfg = session, mix, session.cfg
        self.cfg, self.record, self.accelerator = cfg, session.record, session.accelerator
        reseed(cfg.seed)
        model = checkpoint.build(cfg.model)
        if cfg.train.init and not checkpoints.newest_step(self.record.checkpoints):
            self.start_from(model, cfg.train.init)
        self.model = model.to(self.accelerator.device)
        on_cpu = self.accelerator.device.type == "cpu"
        if on_cpu if cfg.train.channels_last == "auto" else cfg.train.channels_last:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                if tensor.dim() == 4:  # `Module.to` fails at five dimensions, such as PromptIR's prompts
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        self.ema = Averaged(self.model, cfg.train.ema_decay)
        self.criterion = components.build(cfg.loss).to(self.accelerator.device)
        self.spans = spans(model, cfg.train)
        self.best = Best(session, self.ema.module, mix.labels, self.spans[-1].begin)
        self.frozen = [p for name, p in model.named_parameters() if training.matches(name, cfg.train.freeze)]
        self.epoch = sum(mix.samples().values())  # samples of an epoch
        self.waits = not on_cpu  # whether reading a value waits for the device
        self.span: Span | None = None
        self.seconds = self.updating = 0.0  # time in the loop and in its updates alone, before the newest checkpoint
        self.stage_seconds, self.stage_clock = 0.0, time.monotonic()  # time in the stage before the clock's beginning

    def complete(self) -> int:
        """Train what is missing; return the exit status, 0 if there is nothing left to train."""
        before = self.record.summary().get("processes") if self.record.status().step else None
        now = self.accelerator.num_processes
        if text := change_of_processes(before, self.cfg, now, self.model):
            self.session.reporter.say(text)
        if self.record.writer and "parameters" not in self.record.summary():
            self.record.summarise(**costs(self.ema.module))
        self.record.summarise(processes=now)
        epochs = self.spans[-1].images(self.spans[-1].stop) / self.epoch
        text = f"data: an epoch is {self.epoch} samples; {self.cfg.train.steps} updates are {epochs:.1f} epochs"
        self.session.reporter.say(text)
        status = self.loop()
        if not status and self.done < self.cfg.train.steps:
            self.record.summarise(stopped_early=self.best.why_over(self.done))
        return status

    def loop(self) -> int:
        """Make all updates from the newest checkpoint to `train.steps`; return the exit status."""
        stop, first = Stop(self.accelerator, self.cfg), self.resume()
        self.done = first
        unseen: list[Update] = []
        tracked: list[dict[str, Tensor]] = []
        with (
            stop.listening(),
            self.session.reporter.progress("train", self.cfg.train.steps, first) as bar,
            contextlib.closing(self.updates(first)) as updates,
        ):
            for step in updates:
                unseen.append(self.update(step))
                tracked += unseen[-1].parts
                if not (self.due(step + 1) or stop.pressing):
                    continue
                signum, ago = stop.agreed(self.look(unseen))
                if ago:
                    made, names = unseen[-ago], self.mix.labels
                    raise diverged(step + 2 - ago, made, names, self.accelerator, self.record.checkpoints)
                speed = f"{self.images_per_second(step + 1):.1f} images/s"
                note = f"loss {unseen[-1].loss:.4f}  lr {self.learning_rate:.1e}  {speed}"
                bar.advance(note, parts=len(unseen))
                unseen.clear()
                self.done = step + 1
                self.after_step(step + 1, tracked, bar, stopping=signum != 0)
                if signum:
                    return self.interrupted(step + 1, signum)
        signum, _ = stop.agreed(0)  # one that came after the last update
        return self.interrupted(self.done, signum) if signum else 0

    def updates(self, first: int) -> Generator[int, None, None]:
        """Yield the numbers of the updates from `first` on, until the run stops early or has made all of them."""
        for span in self.spans:
            start = max(first, span.first)
            if start < span.stop and not self.best.over:
                with self.within(span, start):
                    yield from itertools.takewhile(lambda step: not self.best.over, range(start, span.stop))

    def update(self, step: int) -> Update:
        """Make the update of this number: forward and backward pass, optimizer, schedule, moving average."""
        cfg, accelerator, clock = self.cfg.train, self.accelerator, budget.Clock(self.accelerator.device, self.batches)
        labels, tracked = [], []
        for micro in range(cfg.accumulation):
            batch = {name: x.to(accelerator.device, non_blocking=True) for name, x in next(self.batches).items()}
            reseed(self.cfg.seed, step, micro)
            with accelerator.accumulate(self.learner):
                learned = self.learner(batch)
                loss, parts = total_loss(self.criterion, learned.image, batch["target"], learned.terms)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), cfg.clip_grad or math.inf)
                    if step == self.span.begin and (idle := training.idle(self.model)):
                        text = f"{', '.join(idle[:3])}{' and others' if len(idle) > 3 else ''}"
                        self.session.reporter.say(f"model: nothing is learned in {text}, to which no gradient leads")
                self.optimizer.step()
                self.optimizer.zero_grad()
            labels.append(batch["label"])
            tracked.append({name: part.detach() for name, part in {"loss": loss, **parts}.items()})
        self.schedule.step_update(step + 1 - self.span.begin)
        self.after_update()
        self.ema.update(self.model, step + 1)
        tracked[-1]["grad_norm"] = norm
        if cfg.clip_grad:
            tracked[-1]["clipped"] = (norm > cfg.clip_grad).float()
        weights = [parameter.detach() for parameter in self.model.parameters()]  # of parameters it norms each alone
        weight_norm = nn.utils.get_total_norm(weights)  # no checkpoint with infinite weights
        self.updating += clock.seconds()
        return Update(loss.detach(), norm, weight_norm, labels, tracked)

    def look(self, updates: list[Update]) -> int:
        """Return how many updates ago the first one diverged, 0 = none; wait for the device, which is part of them."""
        clock = budget.Clock(self.accelerator.device, self.batches)
        ago = updates_ago(updates)
        self.updating += clock.seconds()
        return ago

    def due(self, step: int) -> bool:
        """Return whether values are read after `step` updates: always on a CPU, else if something is made of them."""
        cfg = self.cfg.train
        every = (cfg.log_every, cfg.validate_every, cfg.checkpoint_every, cfg.keep_every)
        return not self.waits or step == cfg.steps or any(n and step % n == 0 for n in every)

    def speeds(self, seconds: float) -> list[budget.Speed]:
        """Return how fast the updates of each span are, by updates that change the network and are not recorded."""
        made = []
        for span in self.spans:
            with self.within(span, span.first):
                time_of = budget.timed(span, self.seconds_of, seconds / len(self.spans))
            made.append(time_of)
        return made

    def seconds_of(self, step: int) -> float:
        """Return the seconds that an update takes."""
        before = self.updating
        self.look([self.update(step)])
        return self.updating - before

    @contextlib.contextmanager
    def within(self, span: Span, start: int) -> Iterator[None]:
        """Load the batches of a span from update `start` on inside the block; enter its stage if that is new."""
        if self.span is None or span.stage is not self.span.stage:
            self.enter(span)
        self.span = span
        if len(self.spans) > 1:
            what = f"{len(span.trainable)} parameters, {span.batch_size} images a batch"
            what += f", crops of {span.patch} pixels" if span.patch else ""
            self.session.reporter.say(f"stage {span.stage.name}: updates {span.first + 1} to {span.stop}, {what}")
        with contextlib.closing(Batches(self.loader(start))) as self.batches:
            yield

    def enter(self, span: Span) -> None:
        """Begin a stage: mark its trainable parameters and make its optimizer and schedule."""
        if self.span is not None:
            self.accelerator.free_memory()  # drops the optimizer of the stage before
        self.span = span
        self.stage_seconds, self.stage_clock = 0.0, time.monotonic()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in span.trainable)
        learner = training.Learner(self.model, span.stage)
        if self.cfg.train.compile:
            learner.compile()
        optimizer = components.build(self.cfg.optimizer)(p for p in self.model.parameters() if p.requires_grad)
        for group in optimizer.param_groups:
            group["lr"] *= span.stage.lr
        self.schedule = make_schedule(self.cfg.schedule, optimizer, span.end - span.begin)
        self.schedule.step_update(0)
        self.learner, self.optimizer = self.accelerator.prepare(learner, optimizer)
        if isinstance(self.learner, DistributedDataParallel):
            self.learner.broadcast_buffers = False  # before each forward pass; `after_update` does it once
        self.learner.train()

    def loader(self, step: int) -> DataLoader:
        """Return this process's share of the stage's micro-batches from update `step` on."""
        span, accelerator = self.span, self.accelerator
        sampler = StepSampler(
            span.batch_size,
            accelerator.process_index,
            accelerator.num_processes,
            start=span.micro_batch(step),
            stop=span.micro_batch(span.stop),
        )
        dataset = self.mix.train_dataset(self.cfg.seed, training.views(self.model), span.patch)
        return make_loader(dataset, sampler, self.cfg.train.workers, pin_memory=accelerator.device.type == "cuda")

    @torch.no_grad()
    def after_update(self) -> None:
        """Call the network's `after_update`, keep frozen parameters fixed, and make buffers equal in all processes."""
        if hasattr(self.model, "after_update"):
            kept = [parameter.clone() for parameter in self.frozen]  # the hook may change parameters without a gradient
            self.model.after_update()
            for parameter, value in zip(self.frozen, kept, strict=True):
                parameter.copy_(value)
        take_from_first(list(self.model.buffers()))  # such as the statistics of a batch norm

    def start_from(self, model: nn.Module, path: str) -> None:
        """Load the weights of `train.init`; a resumed run takes its checkpoint instead."""
        file = checkpoint.find_weights(path, "train.init")
        try:
            notes = checkpoint.load_weights(model, file, self.cfg.train.init_strict)
        except UserError as error:
            hint = "; train.init_strict=false takes what fits" if self.cfg.train.init_strict else ""
            raise UserError(f"train.init: {error}{hint}") from None
        if training.needs_labels(model) or "label" in getattr(model, "terms", ()):
            notes += checkpoint.renumbered(file, self.mix.labels)
        for line in (f"starting from {file}", *notes):
            self.session.reporter.say(line)
        self.record.summarise(init=str(file), init_digest=file_digest(file))

    def resume(self) -> int:
        """Load the newest checkpoint and return its step."""
        step = checkpoints.newest_step(self.record.checkpoints)
        if step:
            self.enter(next(span for span in self.spans if span.first < step <= span.stop))
            checkpoints.resume(self.accelerator, self.ema.module, self.record.checkpoints)
            self.schedule.step_update(step - self.span.begin)
            self.session.reporter.say(f"resuming at step {step} of {self.cfg.train.steps}")
        self.record.rewind(step)
        self.best.recall(step)
        if step:
            summary = self.record.summary()
            self.seconds, self.updating = (summary.get(name, 0.0) for name in ("seconds", "update_seconds"))
            self.stage_seconds = summary.get("stage_seconds", self.seconds)
        self.session.mirrors.catch_up(self.record.metrics())
        return step

    def after_step(self, step: int, tracked: list[dict[str, Tensor]], bar: ProgressBar, stopping: bool) -> None:
        """Log metrics (the means of `tracked`), validate and write checkpoints if they are due after `step` updates."""
        cfg, last, better, images = self.cfg.train, step == self.cfg.train.steps, False, self.span.images(step)
        if step % cfg.log_every == 0 or last:
            values = {f"train/{name}": value for name, value in _means(tracked).items()}
            values |= {"train/lr": self.learning_rate, "train/images_per_second": self.images_per_second(step)}
            values["train/waiting"] = self.batches.share()  # fraction of the time since the last line
            values["train/epoch"] = images / self.epoch
            tracked.clear()
            self.record.log(step, values)
            self.session.mirrors.log(step, values)
        if last or cfg.validate_every and step % cfg.validate_every == 0:
            better = self.best.see(step, validate(self.ema.module, self.mix, self.session, step))
        due = any(every and step % every == 0 for every in (cfg.checkpoint_every, cfg.keep_every))
        if due or last or stopping or better or self.best.over:
            # Weights are written first: a run killed in between resumes from the checkpoint before and writes them
            # again. In the other order, a run killed after its last checkpoint would evaluate older weights.
            if self.accelerator.is_main_process:
                checkpoint.save(self.record.folder, self.ema.module, self.cfg.model, self.mix.labels, step)
            keep, described = (cfg.keep, cfg.keep_every), checkpoint.description(self.cfg.model, self.mix.labels, step)
            checkpoints.save(self.accelerator, self.ema.module, self.record.checkpoints, step, *keep, described)
            self.record.update(step=step)
            seconds = self.seconds + bar.seconds
            times = {"seconds": round(seconds, 2), "update_seconds": round(self.updating, 2)}
            times["stage_seconds"] = round(self.seconds_in_stage, 2)
            self.record.summarise(**times, images_per_second=round(self.images_per_second(step), 3))
        if better:  # after the checkpoint: a run killed in between writes them when it is resumed
            self.best.keep()

    def interrupted(self, step: int, signum: int) -> int:
        """Record that a signal stopped the run, and return the shell's exit status for that signal."""
        name = signal.Signals(signum).name
        self.record.update(state="interrupted", message=f"stopped by {name} after step {step}")
        text = f"stopped after step {step}, a checkpoint was written; the same command resumes there"
        self.session.reporter.say(f"{name}: {text}")
        return 128 + signum

    @property
    def seconds_in_stage(self) -> float:
        """Return the time in the current stage, including validations and checkpoints; above 0."""
        return max(1e-9, self.stage_seconds + time.monotonic() - self.stage_clock)

    def images_per_second(self, step: int) -> float:
        """Return how many images a second the current stage has seen; another may have other batches."""
        before = next(span.before for span in self.spans if span.stage is self.span.stage)
        return (self.span.images(step) - before) / self.seconds_in_stage

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the next update."""
        return self.optimizer.param_groups[0]["lr"]


def _means(tracked: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return the mean of each name over the entries that have it."""
    names = dict.fromkeys(name for entry in tracked for name in entry)
    return {name: torch.stack([entry[name] for entry in tracked if name in entry]).mean().item() for name in names}

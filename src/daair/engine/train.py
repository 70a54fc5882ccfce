"""Training: the loop, and what stands around it. `python run.py` ends up in `train`.

The loop is a function of the step: which samples, which noise and which learning rate an update sees depends on its
number alone. That is why a killed run, started again, ends with the same weights to the last bit (on a CPU).
"""

import contextlib
import math
import signal
from collections import Counter

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from daair import checkpoint, components
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.data.mix import Mix
from daair.data.order import StepSampler
from daair.engine import checkpoints
from daair.engine.costs import costs
from daair.engine.data import Waiting, check_same_data, data_lines, warn_of_leaks
from daair.engine.devices import describe
from daair.engine.evaluate import finish
from daair.engine.progress import Bar, Reporter
from daair.engine.setup import Stop, ignore_signals, make_accelerator, reseed
from daair.engine.validate import validate
from daair.errors import UserError, reason
from daair.runs.environment import environment, git_diff
from daair.runs.mirror import Mirror
from daair.runs.record import Record


def train(job: Job) -> int:
    """Train, evaluate and record one run, or go on with it where it stopped. Returns the exit status."""
    cfg = job.config
    accelerator = make_accelerator(
        device=cfg.device,
        precision=cfg.train.precision,
        accumulation=cfg.train.accumulation,
        num_processes=cfg.launch.world_size,
        batch_size=cfg.train.batch_size,
        threads=cfg.train.threads,
    )
    reporter = Reporter(accelerator.is_main_process)
    mix: Mix = components.build(cfg.mix)
    mix.prepare(reporter.progress)  # what cannot be trained on fails here, before the run's folder exists
    record = Record(job.folder, writer=accelerator.is_main_process)
    with record.lock():
        check_same_data(record, mix)
        if record.status().state == "done":
            reporter.say(f"{record.folder} is done, not trained again")
            return finish(cfg, mix, record, accelerator, reporter)
        reporter.say(f"run {record.folder}")
        for line in data_lines(mix, cfg.train.batch_size * cfg.train.accumulation, cfg.train.steps):
            reporter.say(line)
        warn_of_leaks(cfg, reporter, mix.clean_files())
        device = describe(accelerator.device, accelerator.num_processes)
        record.start(cfg.to_dict(), environment(), git_diff(), cfg.train.steps, device, job.overrides)
        record.note_data(mix.summary())
        record.summarise(training_data=mix.summary()["digest"])
        mirror, exit_code = mirror_of(cfg, record, reporter), 1
        try:
            exit_code = Run(cfg, mix, record, accelerator, reporter, mirror).complete()
            return exit_code
        except BaseException as error:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(UserError, OSError):  # on a full disk not even that can be noted
                record.update(state=state, message=reason(error))
            raise
        finally:
            mirror.keep(record.collated, record.root)
            mirror.finish(exit_code)


def mirror_of(cfg: Config, record: Record, reporter: Reporter) -> Mirror:
    """The run in Weights & Biases, with what is known of it at its start; off in all processes but the main one."""
    mirror = Mirror(
        record.folder,
        mode=cfg.logger.mode if record.writer else "disabled",
        project=cfg.logger.project,
        entity=cfg.logger.entity,
        images=cfg.logger.images,
        study=cfg.study,
        name="/".join(record.folder.parts[-2:]),
        config={**cfg.to_dict(), "data": record.data()},
        say=reporter.say,
    )
    mirror.keep(record.collated, record.root)
    return mirror


class Run:
    """The objects of one training run, and the loop over its updates.

    Args:
        cfg: the run's config.
        mix: where samples come from.
        record: the run's folder, locked.
        accelerator: devices, processes, precision.
        reporter: says how it goes.
        mirror: gets what the record gets.
    """

    def __init__(
        self, cfg: Config, mix: Mix, record: Record, accelerator: Accelerator, reporter: Reporter, mirror: Mirror
    ) -> None:
        self.cfg, self.mix, self.record, self.accelerator, self.reporter = cfg, mix, record, accelerator, reporter
        self.mirror = mirror
        reseed(cfg.seed)
        self.model = checkpoint.build(cfg.model).to(accelerator.device)
        if cfg.train.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.ema = ModelEmaV3(self.model, decay=cfg.train.ema_decay, use_warmup=True)
        if cfg.train.compile:
            self.model.compile()
        self.criterion = components.build(cfg.loss)
        optimizer = components.build(cfg.optimizer)(p for p in self.model.parameters() if p.requires_grad)
        self.schedule = components.build(cfg.schedule)(optimizer, steps=cfg.train.steps)
        self.network, self.optimizer = accelerator.prepare(self.model, optimizer)
        self.epoch = sum(mix.samples().values())  # samples in it

    def complete(self) -> int:
        """Train what is missing, then evaluate; returns the exit status."""
        if self.record.writer and "parameters" not in self.record.summary():
            self.record.summarise(**costs(self.ema.module))
        exit_code = self.loop()
        if exit_code == 0:
            exit_code = finish(self.cfg, self.mix, self.record, self.accelerator, self.reporter, self.mirror)
        return exit_code

    def loop(self) -> int:
        """Return all updates from the newest checkpoint to `train.steps`; returns the exit status."""
        cfg, accelerator, stop = self.cfg.train, self.accelerator, Stop(self.accelerator)
        first = self.resume()
        self.batches = Waiting(self.loader(first))
        tracked: list[dict[str, Tensor]] = []
        with stop.listening(), self.reporter.progress("train", cfg.steps, first) as bar:
            for step in range(first, cfg.steps):
                self.network.train()
                labels: list[Tensor] = []
                for micro in range(cfg.accumulation):
                    batch = {
                        name: value.to(accelerator.device, non_blocking=True)
                        for name, value in next(self.batches).items()
                    }
                    reseed(self.cfg.seed, step, micro, accelerator.process_index)
                    with accelerator.accumulate(self.network):
                        restored = self.network(batch["input"], batch["label"], with_routing=True)
                        loss, parts = self.criterion(restored.image, batch["target"], restored.aux)
                        accelerator.backward(loss)
                        if accelerator.sync_gradients:
                            norm = accelerator.clip_grad_norm_(self.model.parameters(), cfg.clip_grad or math.inf)
                        self.optimizer.step()
                        self.optimizer.zero_grad()
                    labels.append(batch["label"])
                    tracked.append({"loss": loss.detach(), "aux": restored.aux.detach(), **_detached(parts)})
                self.schedule.step_update(step + 1)
                self.model.update_control()
                self.ema.update(self.model, step + 1)
                tracked[-1]["grad_norm"] = norm
                weight_norm = nn.utils.get_total_norm(self.model.parameters())  # a checkpoint holds finite weights
                signum, diverged = stop.agreed(bad=not torch.isfinite(loss.detach() + norm + weight_norm).item())
                if diverged:
                    raise UserError(self.explain_divergence(step + 1, loss, norm, weight_norm, labels))
                bar.advance(f"loss {loss.item():.4f}  lr {self.learning_rate:.1e}", cfg.batch_size * cfg.accumulation)
                self.after(step + 1, tracked, bar, stopping=signum != 0)
                if signum:
                    return self.interrupted(step + 1, signum)
        return 0

    def loader(self, first: int) -> DataLoader:
        """This process's share of all micro-batches from update `first` on."""
        cfg, accelerator = self.cfg.train, self.accelerator
        sampler = StepSampler(
            cfg.batch_size,
            accelerator.process_index,
            accelerator.num_processes,
            start=first * cfg.accumulation,
            stop=cfg.steps * cfg.accumulation,
        )
        return DataLoader(
            self.mix.train_dataset(self.cfg.seed),
            batch_sampler=sampler,
            num_workers=cfg.workers,
            worker_init_fn=ignore_signals,
            pin_memory=accelerator.device.type == "cuda",
        )

    def resume(self) -> int:
        """Go back to the newest checkpoint; returns its step."""
        step = checkpoints.resume(self.accelerator, self.ema.module, self.record.checkpoints)
        self.schedule.step_update(step)
        self.record.rewind(step)
        self.seconds = self.record.summary().get("seconds", 0.0) if step else 0.0  # in the loop, up to that checkpoint
        self.mirror.catch_up(self.record.metrics())
        if step:
            self.reporter.say(f"resuming at step {step} of {self.cfg.train.steps}")
        return step

    def after(self, step: int, tracked: list[dict[str, Tensor]], bar: Bar, stopping: bool) -> None:
        """What is due after `step` updates: a line of metrics (of `tracked`), a validation, a checkpoint."""
        cfg, last = self.cfg.train, step == self.cfg.train.steps
        if step % cfg.log_every == 0 or last:
            values = {f"train/{name}": value for name, value in _means(tracked).items()}
            values |= {"train/lr": self.learning_rate, "train/images_per_second": bar.rate}
            values["train/waiting"] = self.batches.share()  # part of the time since the last line
            values["train/epoch"] = step * cfg.batch_size * cfg.accumulation / self.epoch
            tracked.clear()
            self.record.log(step, values)
            self.mirror.log(step, values)
        if step % cfg.validate_every == 0 or last:
            validate(self.ema.module, self.mix, self.record, self.mirror, self.accelerator, self.reporter, step)
        if step % cfg.checkpoint_every == 0 or last or stopping:
            # Weights first: a run killed in between goes on from the checkpoint before and writes them again. The other
            # way round, one killed after its last checkpoint would be evaluated with the weights of the one before.
            if self.accelerator.is_main_process:
                checkpoint.save(self.record.folder, self.ema.module, self.cfg.model, self.mix.labels, step)
            checkpoints.save(self.accelerator, self.ema.module, self.record.checkpoints, step, cfg.keep)
            self.record.update(step=step)
            seconds = self.seconds + bar.seconds
            images = step * cfg.batch_size * cfg.accumulation
            self.record.summarise(seconds=round(seconds, 2), images_per_second=round(images / seconds, 3))

    def interrupted(self, step: int, signum: int) -> int:
        """Note that the run was told to stop; returns the shell's exit status for that signal."""
        name = signal.Signals(signum).name
        self.record.update(state="interrupted", message=f"stopped by {name} after step {step}")
        self.reporter.say(f"{name}: stopped after step {step}, checkpoint written; the same command goes on from there")
        return 128 + signum

    def explain_divergence(
        self, step: int, loss: Tensor, norm: Tensor, weight_norm: Tensor, labels: list[Tensor]
    ) -> str:
        """Return which step, what was in its batch (of all processes, which must all call this), what is left."""
        everywhere = self.accelerator.gather(torch.cat(labels))
        names = Counter(self.mix.labels[i] for i in everywhere.tolist())
        batch = ", ".join(f"{count} x {name}" for name, count in sorted(names.items()))
        saved = checkpoints.found(self.record.checkpoints)
        good = f"last good checkpoint: {saved[-1]}" if saved else "there is no checkpoint yet"
        return (
            f"training diverged at step {step}: loss {loss}, gradient norm {norm}, weight norm {weight_norm} "
            f"(batch: {batch}); {good}; "
            "try a lower optimizer.lr, a longer schedule.warmup or a lower train.clip_grad"
        )

    @property
    def learning_rate(self) -> float:
        """Of the next update."""
        return self.optimizer.param_groups[0]["lr"]


def _detached(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.detach() for name, part in parts.items()}


def _means(tracked: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return mean of each name over the entries that have it."""
    names = dict.fromkeys(name for entry in tracked for name in entry)
    return {name: torch.stack([entry[name] for entry in tracked if name in entry]).mean().item() for name in names}

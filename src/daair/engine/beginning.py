"""Note in a run's record how an attempt begins: its config, code, machine and data; and tell the user."""

from __future__ import annotations

import secrets

from accelerate.utils import gather_object

from daair.config.jobs import Job
from daair.data.mix import Mix
from daair.engine.data import data_lines, warn_of_leaks
from daair.engine.devices import describe
from daair.engine.setup import Session
from daair.engine.unmeasured import lacks_measurements
from daair.runs.environment import environment, git_diff
from daair.runs.own_code import changed, joined, noted


def begin(session: Session, mix: Mix, job: Job) -> bool:
    """Note the beginning of an attempt, and return whether there is anything to do.

    A run that is done is only measured, if it lacks something that its config asks for now; what is noted of its
    training stays.
    """
    cfg, record, say = session.cfg, session.record, session.reporter.say
    about, before = environment(cfg.to_dict()), noted(record.environment)
    if other := changed(before, about["own_code"]):
        say(f"warning: the code of {', '.join(other)} has changed since this run was started")
    if record.status().state == "done":  # it stays so while it is measured, since its rows are valid
        say(f"{record.folder} is done; it is not trained again")
        (lacks,) = gather_object([lacks_measurements(cfg, record)] if record.writer else [])
        if lacks:
            record.freeze_measuring(job.config.to_dict(), job.overrides)
        return lacks
    if record.status().attempt == 0:
        record.summarise(wandb=secrets.token_hex(5))
    say(f"run {record.folder}")
    for line in data_lines(mix):
        say(line)
    warn_of_leaks(cfg, session.reporter, mix.clean_files())
    about["own_code"] = joined(before, about["own_code"])
    device = describe(session.accelerator.device, session.accelerator.num_processes)
    record.start(job.config.to_dict(), about, git_diff(), cfg.train.steps or 0, device, job.overrides)
    record.note_data(mix.summary())
    record.summarise(training_data=mix.summary()["digest"])
    return True

"""Keep the best weights of a run, and stop a run that gets no better (`train.best`, `train.stop_after`).

A validation with a higher figure than all before it is followed by a checkpoint, and then by `best/` in the run's
folder: the averaged weights at that moment, in the form of the run's own. All decisions follow from the validations in
metrics.jsonl up to the newest checkpoint. A resumed run, and each of its processes, therefore decides as an undisturbed
one does.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from accelerate.utils import broadcast_object_list
from torch import nn

from daair import checkpoint
from daair.config.schema import Train
from daair.data.mix import Mix
from daair.engine.setup import Session
from daair.errors import UserError


def check_figure(train: Train, mix: Mix) -> None:
    """Check that the mix has validation images for the figure of `train.best`.

    Raises:
        UserError: It has none; the message lists the figures that there are.
    """
    if train.best is None:
        return
    known = ["val/psnr", *(f"val/psnr/{label}" for label in mix.summary()["validation"])]
    if train.best not in known:
        raise UserError(f"train.best: no validation has {train.best}; there are {', '.join(known)}")


class Best:
    """The best validation of a run so far.

    Args:
        session: The run, with `train.best` and `train.stop_after` in its config.
        network: The network with averaged weights.
        labels: The names of the degradation labels, in the order of their numbers.
        since: The update from which on validations count towards `train.stop_after`: the first of the last stage, as
            the output may not show at all what an earlier one trains.

    Attributes:
        step: The update after which the validation was made; 0 before the first.
        value: Its figure; minus infinity before the first.
        without: The number of validations since then that count.
    """

    def __init__(self, session: Session, network: nn.Module, labels: list[str], since: int = 0) -> None:
        self.session, self.network, self.labels, self.since = session, network, labels, since
        self.figure, self.patience = session.cfg.train.best, session.cfg.train.stop_after
        self.file = session.record.best / "model.json"
        self.forget()

    def forget(self) -> None:
        """Begin as before the first validation."""
        self.step, self.value, self.without = 0, -math.inf, 0

    def see(self, step: int, figures: Mapping[str, Any]) -> bool:
        """Take the figures of a validation after `step` updates, and return whether it is the best so far."""
        value = figures.get(self.figure)
        if value is not None and math.isfinite(value) and value > self.value:  # the record has no infinite numbers
            self.step, self.value, self.without = step, value, 0
            return True
        self.without += step > self.since
        return False

    @property
    def over(self) -> bool:
        """Whether the run stops because it gets no better."""
        return self.patience is not None and self.without >= self.patience

    def why_over(self, step: int) -> str:
        """Return in one line why the run stops after `step` updates."""
        text = f"stopped early after {step} of {self.session.cfg.train.steps} updates: {self.without} validations"
        return f"{text} without a {self.figure} above {self.value:.2f}, of update {self.step}"

    def recall(self, step: int) -> None:
        """Take the recorded validations of a run that is resumed after `step` updates with the network of that moment.

        Every process must call this; all take those that the main one reads.
        """
        for row in self.session.record.metrics():
            if self.figure in row and row["step"] <= step:
                self.see(row["step"], row)
        self.step, self.value, self.without = broadcast_object_list([self.step, self.value, self.without])
        if not self.step:
            return
        if self.step == step:  # the run may have been killed before it could
            self.keep()
        (kept,) = broadcast_object_list([self._kept()])
        if kept != self.step:  # as if `train.best` was set later than that
            text = f"train.best: the weights of update {self.step} are not there any more; only later ones count"
            self.session.reporter.say(text)
            self.forget()

    def keep(self) -> None:
        """Write the network's weights into `best/`, and note which validation it is."""
        session = self.session
        if session.accelerator.is_main_process and self._kept() != self.step:
            checkpoint.save(self.file.parent, self.network, session.cfg.model, self.labels, self.step)
        session.record.summarise(best={"figure": self.figure, "value": self.value, "step": self.step})
        session.mirrors.summarise({f"best/{self.figure}": self.value, "best/step": self.step})

    def _kept(self) -> int:
        """Return the update of the weights in `best/`; 0 if there are none."""
        try:
            return int(json.loads(self.file.read_text())["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

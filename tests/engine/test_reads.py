"""A device that computes is not waited for: an update reads no value, and what diverges is found when one is read."""

import json
import math
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, make_photographs, run_ranks
from torch.utils._python_dispatch import TorchDispatchMode

from daair.cli import conf_dir
from daair.config.jobs import Composer, check
from daair.engine import train
from daair.engine.data import prepared_mix
from daair.engine.divergence import Update
from daair.engine.mirrors import mirrors_of
from daair.engine.progress import Reporter
from daair.engine.setup import Session, make_accelerator
from daair.errors import UserError
from daair.runs.record import Record

STEPS = ["train.steps=10", "train.checkpoint_every=4", "train.validate_every=5"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"))


class Reads(TorchDispatchMode):
    """Counts what reads a tensor's values, for which Python waits for a GPU: operators, and methods that have none."""

    OPERATORS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::bincount")
    METHODS = ("cpu", "numpy", "tolist", "__array__")  # on the CPU they launch no operator that would tell

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []
        self.patch = pytest.MonkeyPatch()

    def __enter__(self):
        for name in self.METHODS:
            method = getattr(torch.Tensor, name)
            self.patch.setattr(torch.Tensor, name, lambda *args, method=method, **more: self.noted(method, args, more))
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        return super().__exit__(*error)

    def noted(self, method, args, kwargs):
        self.where.append("".join(traceback.format_stack(limit=8)))
        return method(*args, **kwargs)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masks = func.name() == "aten::index.Tensor" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or func.name() in self.OPERATORS:
            self.where.append("".join(traceback.format_stack(limit=8)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.item(), lambda x: bool(x[0] > 0), lambda x: x.tolist(), lambda x: x.numpy(), lambda x: x.cpu(),
        lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: np.asarray(x),
    ],
)  # fmt: skip
def test_what_reads_a_tensor_is_counted(read) -> None:
    with Reads() as reads:
        read(torch.ones(1))
    assert reads.where


def waiting_trainer(photographs: Path, folder: Path, *more: str) -> train.Trainer:
    """A trainer for which reading a value waits, as it does on a GPU; it logs every four updates."""
    given = [*SMALL, *STEPS, f"mix.root={photographs}", f"paths.runs={folder}"]
    line = [one for one in given if not one.startswith(("model", "experts", "mix.patch"))]
    composer, reporter = Composer(conf_dir()), Reporter(active=False)
    cfg = check(composer.compose_job([*line, "mix.patch=32", "train.log_every=4", *more]), composer.options, set())
    accelerator, record = make_accelerator(cfg, training=True), Record(folder / "run", writer=True)
    session = Session(cfg, record, accelerator, reporter, mirrors_of(cfg, record, reporter))
    trainer = train.Trainer(session, prepared_mix(cfg, reporter))
    trainer.waits = True
    return trainer


@pytest.mark.parametrize(
    "more",
    [
        ["model=daair_tiny"], ["model=daair_naf_tiny"], ["model=airnet_tiny"], ["model=promptir_tiny"],
        ["model=nafnet_tiny", "loss=l1_ssim"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_update_reads_nothing_from_the_device(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """Where reading waits (on a GPU), values are read when something is logged, validated or saved, once for all."""
    trainer, looks = waiting_trainer(photographs, tmp_path, "train.accumulation=2", *more), []
    monkeypatch.setattr(trainer, "look", lambda updates: looks.append(len(updates)) or train.updates_ago(updates))
    update = trainer.update

    def counted(step: int) -> Update:
        with Reads() as reads:
            made = update(step)
        assert not reads.where, reads.where[0]
        return made

    monkeypatch.setattr(trainer, "update", counted)
    assert trainer.loop() == 0
    assert looks == [4, 1, 3, 2], "logged after 4, 8 and 10 updates, validated after 5"


@pytest.mark.parametrize(
    ("more", "most"),
    [
        (["model=daair_tiny", "router=top1"], {"allreduce_": 3}),  # two parts of the gradients, the router's shares
        (["model=airnet_tiny"], {"allreduce_": 2, "broadcast_": 2, "allgather_": 1}),  # and buffers, keys
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_update_of_two_processes_starts_few_collectives(
    photographs: Path, tmp_path: Path, more: list[str], most: dict[str, int]
) -> None:
    """Each waits for the slowest process. Data-parallel training sends two more to agree on its parts, once a stage."""
    line = [*SMALL, "train.steps=5", "train.checkpoint_every=5", "train.validate_every=5", "train.log_every=5"]
    line = [one for one in line if not one.startswith(("model", "experts", "mix.patch"))]
    script = (str(Path(__file__).with_name("collectives.py")), str(tmp_path / "started"))
    given = [*line, "mix.patch=32", f"mix.root={photographs}", f"paths.runs={tmp_path / 'runs'}", *more]
    code, output = run_ranks(given, script=script)
    assert code == 0, output
    for rank in "01":
        updates = [json.loads(line) for line in (tmp_path / f"started.{rank}").read_text().splitlines()]
        agreed = [update for update in updates if update.get("broadcast_", 0) == most.get("broadcast_", 0) + 2]
        assert len(updates) == 5 and len(agreed) <= 2, updates
        for update in (update for update in updates if update not in agreed):
            assert update["allreduce_"] >= 1 and all(count <= most.get(name, 0) for name, count in update.items()), (
                updates
            )


def test_a_divergence_that_is_seen_late_names_its_update_and_saves_nothing(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = waiting_trainer(photographs, tmp_path, "model=nafnet_tiny", "train.checkpoint_every=1000")
    made, update = [], trainer.update

    def spoiled(step: int) -> Update:
        made.append(update(step))
        return made[-1]._replace(loss=torch.tensor(math.nan)) if step >= 1 else made[-1]

    monkeypatch.setattr(trainer, "update", spoiled)
    with pytest.raises(
        UserError, match=r"^training diverged at step 2: loss nan, .*; there is no checkpoint yet"
    ) as told:
        trainer.loop()
    assert len(made) == 4, "seen where something is logged"
    counts = Counter(trainer.mix.labels[i] for i in torch.cat(made[1].labels).tolist())
    assert f"(batch: {', '.join(f'{count} x {name}' for name, count in sorted(counts.items()))})" in str(told.value)
    assert not list(trainer.record.checkpoints.glob("*")) and not trainer.record.weights_file.exists()

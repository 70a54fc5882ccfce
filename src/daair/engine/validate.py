"""Validate during training: PSNR per degradation on fixed held-out crops, and the routing."""

from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Subset

from daair.data.mix import Mix
from daair.engine.devices import tf32
from daair.engine.routing import RoutingTally
from daair.engine.setup import Session
from daair.metrics import PROTOCOLS
from daair.metrics.finite import LISTED
from daair.models.training import routed
from daair.runs.pictures import comparison

BATCH = 8  # crops at a time; does not affect the results


@torch.inference_mode()
@tf32(False)
def validate(network: nn.Module, mix: Mix, session: Session, step: int) -> dict[str, float]:
    """Restore the mix's validation crops, shared by all processes, and log the results.

    Logs `val/psnr/<degradation>` in dB (mean over crops, RGB), their mean `val/psnr`, if crops have values that are not
    finite and are therefore in no mean, `val/not_finite`, their number; `routing/mutual_information`
    (mean over learners) and `routing/utilisation` (experts x degradations, mean over learners and for each learner);
    writes `samples/validation.png`.

    Returns:
        The logged numbers.
    """
    dataset, accelerator = mix.val_dataset(), session.accelerator
    share = Subset(dataset, range(accelerator.process_index, len(dataset), accelerator.num_processes))
    tally, rows, samples = RoutingTally(mix.labels), [], []
    for batch in DataLoader(share, batch_size=BATCH):
        images, labels = batch["input"].to(accelerator.device), batch["label"].to(accelerator.device)
        with accelerator.autocast():
            output = routed(network, images, labels)
        restored = output.image.float().clamp(0, 1).cpu()
        if output.gates is not None:
            tally.add(output.gates.float().cpu().numpy(), batch["label"].numpy())
        for i, (label, name) in enumerate(zip(batch["label"].tolist(), batch["name"], strict=True)):
            triple = [t[i].permute(1, 2, 0).numpy() for t in (batch["input"], restored, batch["target"])]
            rows.append((label, name, PROTOCOLS["promptir"].psnr(triple[1], triple[2])))
            if name.endswith("-0") and label not in {sample[0] for sample in samples}:
                samples.append((label, name, triple))
    rows, samples = gather_object(rows), gather_object(samples)
    tally = tally.merge(gather_object([tally]))
    values = _numbers(rows, tally, mix.labels)
    session.record.log(step, {**values, "routing/utilisation": _matrices(tally)})
    if accelerator.is_main_process:
        picture = _picture(session.record.samples / "validation.png", samples, mix.labels)
        session.mirrors.log(step, values)
        session.mirrors.log_images(step, {"validation": picture})
        session.mirrors.log_routing(step, _matrices(tally), mix.labels)
        each = "  ".join(f"{name.rpartition('/')[2]} {psnr:.2f}" for name, psnr in values.items() if "psnr/" in name)
        session.reporter.say(f"step {step}: validation PSNR {values['val/psnr']:.2f} dB  ({each})")
        if strange := [f"{name} ({psnr})" for _, name, psnr in rows if not np.isfinite(psnr)]:
            more = f" and {len(strange) - LISTED} more" if len(strange) > LISTED else ""
            named = ", ".join(strange[:LISTED])
            session.reporter.say(f"left out of it, not finite: {len(strange)} of {len(rows)} crops: {named}{more}")
    return values


def _numbers(rows: list[tuple[int, str, float]], tally: RoutingTally, labels: list[str]) -> dict[str, float]:
    """Return the means over the crops with finite values; nan for a degradation without such crops."""
    crops: dict[int, list[float]] = {label: [] for label in sorted({label for label, *_ in rows})}
    for label, _, psnr in rows:
        if np.isfinite(psnr):
            crops[label].append(psnr)
    each = {labels[label]: float(np.mean(found)) if found else float("nan") for label, found in crops.items()}
    values = {f"val/psnr/{name}": psnr for name, psnr in each.items()}
    values["val/psnr"] = float(np.mean(list(each.values())))
    if left_out := len(rows) - sum(map(len, crops.values())):
        values["val/not_finite"] = left_out
    information = tally.mutual_information()
    if len(information):
        values["routing/mutual_information"] = float(information.mean())
    return values


def _matrices(tally: RoutingTally) -> dict[str, list]:
    utilisation = np.round(tally.utilisation(), 4)
    mean = utilisation.mean(axis=0).round(4).tolist() if len(utilisation) else []
    return {"mean": mean, "learners": utilisation.tolist()}


def _picture(path: Path, samples: list, labels: list[str]) -> Path:
    rows = {}
    for label, _, triple in sorted(samples, key=lambda sample: (sample[0], sample[1])):
        rows.setdefault(labels[label], triple)
    return comparison(path, rows)

"""`task=export`: write a network as one file that runs without this package, and a card of its costs beside it.

For `output=model.onnx` the card is `model.onnx.json`, and `model.onnx.md` for reading. Both formats take a batch
`image` (B, 3, H, W), float32, RGB in [0, 1], of any B, H and W, and return `restored` of the same shape, not clamped.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from daair.config.jobs import Job
from daair.engine import exporting
from daair.engine.costs import costs, interleaved_seconds
from daair.engine.inference import load_model
from daair.errors import UserError
from daair.files import replacing, write_text
from daair.report.writers import Block, Cell, to_markdown
from daair.runs.environment import commit_name, git_state, processor


def export(job: Job) -> int:
    """Write the network of `job.config.checkpoint` into the file `job.config.output`, and its card; return 0.

    The file is run and compared with PyTorch before it takes its name.

    Raises:
        UserError: There are no weights, the format or its packages are missing, or the network cannot be exported.
    """
    cfg, path = job.config, Path(job.config.output)
    exporting.check_format(path)
    network = load_model(cfg, print)
    multiple = exporting.multiple_of(network)
    program = exporting.trace(network, multiple)
    try:
        with replacing(path) as temporary:
            exporting.write(program, temporary)
            run = exporting.runner(temporary)
            difference = exporting.largest_difference(network, run, multiple)
            card = describe(network, run, cfg.profile.size, cfg.profile.repeats)
    except OSError as error:
        raise UserError(f"output: {path}: cannot be written ({error.strerror})") from None
    card |= {"checkpoint": cfg.checkpoint, "smallest_side": exporting.smallest_side(network, multiple)}
    card |= {"largest_difference": difference}
    write_text(path.with_name(f"{path.name}.json"), json.dumps(card, indent=2) + "\n")
    write_text(path.with_name(f"{path.name}.md"), to_text(path, card))
    print(f"largest difference to PyTorch, on batches of three sizes: {difference:.1g}")
    print(f"wrote {path}, its card {path}.md and {path}.json")
    return 0


def describe(network: nn.Module, run: Callable[[Tensor], Tensor], size: int, repeats: int) -> dict[str, Any]:
    """Return what the card says of a network and its exported file.

    Args:
        network: The network, in evaluation mode on the CPU.
        run: Runs the exported file.
        size: Side in pixels of the square image for MACs and latency.
        repeats: Timed passes of each, in turns.
    """
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        passes = {"pytorch": lambda: network(image), "exported": lambda: run(image)}
        seconds = interleaved_seconds(passes, repeats, torch.device("cpu"))
    return {
        "network": type(network).__name__,
        "degradations": list(getattr(network, "labels", None) or []),
        "updates": getattr(network, "step", None),
        **costs(network, size),
        "size": size,
        "latency_ms": {name: _milliseconds(times) for name, times in seconds.items()},
        "threads": torch.get_num_threads(),
        "hardware": processor(),
        "torch": version("torch"),
        "commit": commit_name(git_state(), 12),
    }


def to_text(path: Path, card: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    macs = "unknown" if card["macs"] is None else f"{card['macs'] / 1e9:.2f}"
    low, high = (f"{card['latency_ms'][name]['median']:.1f}" for name in ("pytorch", "exported"))
    block = Block(
        "",
        ["parameters, M", "MACs, G", "latency in PyTorch, ms", "latency of this file, ms"],
        [[Cell(text) for text in (f"{card['parameters'] / 1e6:.2f}", macs, low, high)]],
        names=0,
    )
    trained = f"; removes {', '.join(card['degradations'])}" if card["degradations"] else ""
    updates = "" if card["updates"] is None else f"; {card['updates']} updates"
    return "\n".join(
        [
            f"# {path.name}",
            "",
            f"{card['network']} of `{card['checkpoint']}`{trained}{updates}. Format: {exporting.FORMATS[path.suffix]}.",
            "",
            "- Input `image`: (batch, 3, height, width), float32, RGB in [0, 1]; any batch, sides of at least "
            f"{card['smallest_side']} pixels.",
            "- Output `restored`: the same shape, not clamped to [0, 1].",
            f"- Largest difference to PyTorch on batches of three sizes: {card['largest_difference']:.1g}.",
            "",
            to_markdown([block]).strip(),
            "",
            f"For one image of {card['size']} x {card['size']} pixels; medians, {card['hardware']}, "
            f"{card['threads']} thread{'s' if card['threads'] > 1 else ''}. MACs without FFTs. torch {card['torch']}, "
            f"commit {card['commit'] or 'unknown'}.",
            "",
        ]
    )


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles of times in milliseconds."""
    each = [1000 * second for second in seconds]
    first, median, third = statistics.quantiles(each, method="inclusive") if len(each) > 1 else each * 3
    return {"median": median, "first_quartile": first, "third_quartile": third}

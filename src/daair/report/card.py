"""The card of a trained network: what it is, how it was trained, what it was measured to do; in Markdown.

python -m daair.report.card RUN NAME > README.md
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from daair.config import overrides
from daair.errors import UserError
from daair.metrics import finite, required_columns
from daair.report.writers import Block, Cell, to_markdown
from daair.runs import scores
from daair.runs.record import Record

HEAD = "---\nlibrary_name: daair\npipeline_tag: image-to-image\ntags: [image-restoration]\n---\n"
"""What the Hugging Face Hub reads of a card."""

PLACE = re.compile(r"""(?<![\w./])~?/(?!/)[^,'"\])}]+""")
"""An absolute path in a text, which tells of a machine and not of the network."""


def card(folder: str | Path, name: str) -> str:
    """Return the card of the network in a run's folder, or in one with `model.safetensors` and `model.json` alone.

    Args:
        folder: The folder.
        name: How `daair.load` finds the network, such as `hf://OWNER/NAME`; the last part is the title.

    Raises:
        UserError: The folder describes no network, or a file of the run is damaged.
    """
    record = Record(folder)
    try:
        stored = json.loads((record.folder / "model.json").read_text())
        network, labels, step = stored["model"]["_target_"].rpartition(".")[2], stored["labels"], stored["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record.folder}: holds no network that daair has written ({error})") from None
    size = f" with {count / 1e6:.2f} M parameters" if (count := record.summary().get("parameters")) else ""
    lines = [HEAD, f"# {name.rpartition('/')[2]}", ""]
    lines += [f"A {network}{size}, trained with DaAIR Lab on these degradations: {', '.join(labels) or 'unknown'}."]
    lines += ["", f'    model = daair.load("{name}")', "    restored = daair.restore(model, picture)", ""]
    facts = [("updates", str(step)), *(_facts(record) if record.config_file.is_file() else ())]
    lines += [_table(["training", ""], facts)]
    rows = record.results()
    if rows is not None:
        header, texts = scores.texts(scores.per_benchmark(rows))
        lines += ["", "Means over the images of each benchmark, PSNR in dB:", "", _table(header, texts)]
        lines += ["", *finite.sentences(rows, [name for name in required_columns() if name in rows])]
    return "\n".join(lines) + "\n"


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    """Yield what a card tells of a run, with its name."""
    config, status, environment = record.config(), record.status(), record.environment()
    mix = config["mix"]
    crops = config["train"]["batch_size"] * (config["train"].get("accumulation") or 1)
    yield "images of an update", f"{crops}, crops of {mix.get('patch')} pixels"
    yield "seed", str(config["seed"])
    yield "data", f"mix `{(config.get('choices') or {}).get('mix', 'custom')}`"
    for label, data in record.data().get("degradations", {}).items():
        made = "" if data["source"] != "synthetic" else ", degraded by synthesis"
        yield f"images with {label}", f"{data['images']} ({PLACE.sub('DIR', data['origin'])}{made})"
    yield "command", f"`{_command(record.overrides() or (), config['seed'])}`"
    yield "commit", status.commit or "unknown"
    yield "hardware", f"{status.device}, {environment.get('processor', 'unknown processor')}"


def _command(given: Sequence[str], seed: int) -> str:
    """Return the command of a run with `DIR` for the folders of its machine."""
    kept = []
    for override in given:
        key = override.partition("=")[0].lstrip("+")
        if not key.startswith("paths."):
            kept.append(f"{key}=DIR" if overrides.PATHS.fullmatch(key) else PLACE.sub("DIR", override))
    return overrides.command(kept, [seed])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    block = Block("", header, [list(map(Cell, row)) for row in rows], names=len(scores.KEYS))
    return to_markdown([block]).strip()


if __name__ == "__main__":
    print(card(*sys.argv[1:3]), end="")

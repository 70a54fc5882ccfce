"""Renaming of the parameters in the published checkpoints of the peers.

Each peer has a static method `from_published(state)` that returns the state dict with the names used here. A state dict
that already has these names is returned unchanged, so a loader need not know which kind it has.
"""

import re
from collections.abc import Mapping

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
"""Patterns of whole dotted parts of a name, and their replacements, applied in this order."""

MARK = "patch_embed.proj.weight"
"""The authors' name of the first convolution in each of these networks; here it is `embed.weight`."""

BLOCK: Rules = (
    (r"attn\.qkv", "attention.query_key_value.0"),
    (r"attn\.qkv_dwconv", "attention.query_key_value.1"),
    (r"attn\.project_out", "attention.project"),
    (r"attn\.temperature", "attention.temperature"),
    (r"(norm\d?)\.body", r"\1"),
    (r"ffn\.project_in", "ffn.expand.0"),
    (r"ffn\.dwconv", "ffn.expand.1"),
    (r"ffn\.project_out", "ffn.project"),
)
"""Parameters within a block of Restormer."""

BACKBONE: Rules = (
    (r"patch_embed\.proj", "embed"),
    *((rf"encoder_level{level + 1}", f"encoder.{level}") for level in range(3)),
    *((rf"decoder_level{level + 1}", f"decoder.{level}") for level in range(3)),
    *((rf"down{level + 1}_{level + 2}\.body", f"down.{level}") for level in range(3)),
    *((rf"up{level + 2}_{level + 1}\.body", f"up.{level}") for level in range(3)),
    *((rf"reduce_chan_level{level + 1}", f"skip.{level}") for level in range(3)),
    (r"latent", "encoder.3"),
    (r"output", "out"),
    *BLOCK,
)
"""All parameters of Restormer, which PromptIR and AdaIR extend."""


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Return a state dict renamed by a network's rules; one that has the names used here is returned unchanged.

    A prefix of all published names, from DataParallel (`module.`) or a trainer's class (`net.`), is removed.

    Raises:
        ValueError: Two names would become the same.
    """
    marks = [name for name in state if name == MARK or name.endswith(f".{MARK}")]
    prefix = marks[0].removesuffix(MARK) if len(marks) == 1 else ""
    if not marks or not all(name.startswith(prefix) for name in state):
        return dict(state)
    compiled = [(re.compile(rf"(?<![^.]){pattern}(?![^.])"), ours) for pattern, ours in rules]
    renamed = {}
    for name, value in state.items():
        ours = name.removeprefix(prefix)
        for pattern, replacement in compiled:
            ours = pattern.sub(replacement, ours)
        if ours in renamed:
            raise ValueError(f"two published parameters would both be called {ours}")
        renamed[ours] = value
    return renamed

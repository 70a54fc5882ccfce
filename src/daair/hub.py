"""Checkpoints on the Hugging Face Hub, named `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

Nothing else of this package needs the Hub. What is downloaded are the two files of a checkpoint, from which
`daair.checkpoint` builds a network with the same distrust as from any other folder.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from daair.errors import UserError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
FILES = ("model.safetensors", "model.json")


def is_address(path: str | Path) -> bool:
    """Return whether a text names a repository of the Hub."""
    return str(path).startswith(SCHEME)


def download(address: str) -> Path:
    """Return a folder with the checkpoint of a repository, downloaded or as the Hub's cache has it.

    Raises:
        UserError: `huggingface_hub` is not installed, or there is no such repository, revision or file.
    """
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise UserError(f"{address}: must be {SCHEME}OWNER/NAME, or {SCHEME}OWNER/NAME@REVISION")
    hub = _hub(address)
    try:
        for name in FILES:
            file = Path(hub.hf_hub_download(repository, name, revision=revision or None))
            revision = file.parent.name  # the commit, so that both files are of the same one
    except Exception as error:  # the Hub's own errors and those of the HTTP client below it have no base in common
        raise UserError(f"{address}: cannot be downloaded ({first_line(error)})") from error
    return file.parent


def upload(folder: Path, card: str, repository: str, private: bool) -> str:
    """Write a checkpoint and its card into a repository, which is created if needed, as one commit; return its address.

    Raises:
        UserError: `huggingface_hub` is not installed, or the Hub refuses.
    """
    address = f"{SCHEME}{repository}"
    hub = _hub(address)
    from huggingface_hub import CommitOperationAdd

    files = {"README.md": card.encode(), **{name: folder / name for name in FILES}}
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Upload a network of DaAIR Lab",
        )
    except Exception as error:
        raise UserError(f"{address}: cannot be uploaded ({first_line(error)})") from error
    return address


def _hub(address: str) -> "HfApi":
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError(f"{address}: needs huggingface_hub; pip install -e '.[hub]'") from None
    return HfApi(library_name="daair")

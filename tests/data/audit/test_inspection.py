"""What is known of a file is kept until the file changes; that it could not be read is not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daair.data.audit.inspection import inspect_files


def test_a_file_that_can_be_read_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `chmod`, or when a network drive is back; neither changes the file."""
    file, cache, reads = tmp_path / "a.png", tmp_path / "cache.sqlite", []
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(file)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        reads.append(path)
        if len(reads) == 1:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert [inspect_files([file], cache)[file].error for _ in range(2)] == ["Permission denied", ""]
    before = len(reads)
    assert inspect_files([file], cache)[file].error == "" and len(reads) == before, "what was read is not read again"

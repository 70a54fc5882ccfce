"""Fixtures that several test folders share."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("daair", deadline=None)  # a timing is never a test
settings.load_profile("daair")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The benchmark data pack: the folder in DAAIR_DATA, or shared/data beside the checkout."""
    root = Path(os.environ.get("DAAIR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (root / "train" / "clean").is_dir():
        pytest.skip(f"no data pack at {root} (set DAAIR_DATA)")
    return root


def pytest_collection_finish() -> None:
    """What the tests import stays: without this, a collection of garbage looks through all of it, again and again."""
    gc.collect()
    gc.freeze()

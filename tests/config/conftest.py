"""What the tests of configs share."""

import pytest

from daair.config.jobs import Composer


@pytest.fixture(scope="module")
def composer() -> Composer:
    """Composes as a command without flags does."""
    return Composer()

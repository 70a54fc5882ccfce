"""The tests depend on nothing about where the checkout lies: neither on its folder's name nor on the path to it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

TESTS = [
    "tests/config/test_compose.py",
    "tests/engine/test_evaluate.py",
    "tests/test_checkpoint.py",
    "tests/test_readme.py",
]
SLOW = "by_hand or two_processes or as_hydra_composes or commands_compose or refused_with_what_is"  # and about no path


def test_the_tests_pass_in_a_folder_of_any_name(tmp_path: Path) -> None:
    checkout = tmp_path / "a lab ü" / "daair"  # the name of the package, which occurs in what a run writes
    for name in tracked_files():
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    options = ["-x", "-q", "-k", f"not ({SLOW})", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'of the tests'}"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", *options, *TESTS]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def tracked_files() -> list[str]:
    """Return the tracked files that are there, relative to the checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not list the files of {ROOT}: {error}")
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]

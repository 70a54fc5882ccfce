"""A plugin: its configs join ours by name, in help and sweeps too, and its classes are trusted.

The package is in tests/plugin. It is not installed: its folder and a hand-written entry point stand on the path.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from daair.config import plugins
from daair.config.jobs import Command, Job
from daair.config.trust import refuse_untrusted, trusted_packages
from daair.config.validate import validate
from daair.errors import UserError

PACKAGE = Path(__file__).parent / "plugin"


def install(site: Path, value: str = "labtoys") -> Path:
    """Write what an installer would note of the plugin; returns the folder for the path."""
    noted = site / "labtoys-1.0.dist-info"
    noted.mkdir(parents=True)
    (noted / "METADATA").write_text("Metadata-Version: 2.1\nName: labtoys\nVersion: 1.0\n")
    (noted / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nlabtoys = {value}\n")
    return site


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin, as if installed, in this process."""
    monkeypatch.setattr(sys, "path", [str(PACKAGE), str(install(tmp_path / "site")), *sys.path])
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    plugins.conf_folders.cache_clear()
    yield
    plugins.conf_folders.cache_clear()


def program(tmp_path: Path, *arguments: str) -> str:
    path = [str(ROOT / "src"), str(PACKAGE), str(install(tmp_path / "site"))]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "run.py"), *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not imported & {"labtoys", "torch"}, "a plugin is not imported to be listed"
    return done.stdout


def test_help_and_cfg_know_its_options(tmp_path):
    text = program(tmp_path, "--help")
    for option in ("toynet", "brightness", "stripes", "toys"):
        assert option in text


def test_its_options_compose(tmp_path):
    text = program(tmp_path, "--cfg", "job", "model=toynet", "model.width=4", "mix=toys")
    assert "_target_: labtoys.parts.ToyNet\n  width: 4\n" in text and "name: toys" in text


def test_its_parts_compose_and_are_trusted(plugin):
    command = Command.parse(["router=brightness", "router.gamma=0.5", "mix=toys", "study=x"])
    (point,) = command.points
    config = validate(command.composer.compose(point.overrides))
    assert config.model["router"]["gamma"] == 0.5 and config.mix["name"] == "toys"
    assert Job.of(config).trust == ("labtoys",)


def test_its_study_is_a_sweep(plugin):
    command = Command.parse(["experiment=toys", "train.steps=2"])
    assert command.sweep and len(command.points) == 4
    assert {point.text for point in command.points} >= {"model=toynet seed=0", "model=daair_tiny seed=1"}


def test_a_plugin_whose_package_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(install(tmp_path, "vanished"))])
    plugins.conf_folders.cache_clear()
    try:
        with pytest.raises(UserError, match="plugin labtoys: there is no package vanished; install it again"):
            plugins.conf_folders()
    finally:
        plugins.conf_folders.cache_clear()


def test_a_stored_config_builds_what_is_ours_and_what_is_trusted(plugin):
    command = Command.parse(["router=brightness"])
    config = validate(command.master)
    stored = config.to_dict()
    assert trusted_packages(config) == ("labtoys",)
    refuse_untrusted(stored, ["labtoys"], Path("config.yaml"))
    with pytest.raises(
        UserError, match="^config.yaml: refused, since it names 'labtoys.parts.ByBrightness'; .*--trust"
    ):
        refuse_untrusted(stored, [], Path("config.yaml"))
    for hostile in ("os.system", "torch.hub.load", "daair.files.os.remove", "daair.files.write_text", 3, None):
        with pytest.raises(UserError, match="config.yaml: refused, since it names"):
            refuse_untrusted({**stored, "loss": {"_target_": hostile}}, ["labtoys"], Path("config.yaml"))
    with pytest.raises(UserError, match="refused, since it holds the interpolation"):
        refuse_untrusted({**stored, "loss": "${oc.create:{a:1}}"}, ["labtoys"], Path("config.yaml"))

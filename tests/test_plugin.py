"""A plugin: its configs join ours by name, in help and sweeps too, and a command that names it trusts it.

The package is in tests/plugin. It is not installed: its folder and a hand-written entry point stand on the path.
`tests/test_own_package.py` trains it.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PLUGIN, ROOT, install_plugin

from daair.config import plugins, typed
from daair.config.jobs import Command, Job
from daair.config.validate import validate
from daair.errors import UserError
from daair.trust import PARTS, named_packages, refuse_untrusted

GUIDE = ROOT / "docs" / "extend.md"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin, as if installed, in this process."""
    monkeypatch.setattr(sys, "path", [str(PLUGIN), str(install_plugin(tmp_path / "site")), *sys.path])
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    plugins.conf_folders.cache_clear()
    yield
    plugins.conf_folders.cache_clear()


def program(tmp_path: Path, *arguments: str) -> str:
    path = [str(ROOT / "src"), str(PLUGIN), str(install_plugin(tmp_path / "site"))]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "run.py"), *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not imported & {"mypkg", "torch"}, "a plugin is not imported to be listed"
    return done.stdout


def test_help_and_cfg_know_its_options(tmp_path):
    text = program(tmp_path, "--help")
    for option in ("mynet", "mine", "stripes", "ours", "ourstudy"):
        assert option in text


def test_its_options_compose(tmp_path):
    text = program(tmp_path, "--cfg", "job", "model=mynet", "model.width=4", "mix=ours")
    assert "_target_: mypkg.Net\n  width: 4\n" in text and "name: ours" in text


def test_its_parts_compose_and_are_trusted(plugin):
    command = Command.parse(["router=mine", "router.gamma=0.5", "mix=ours", "study=x"])
    (point,) = command.points
    config = validate(command.composer.compose(point.overrides))
    assert config.model["router"]["gamma"] == 0.5 and config.mix["name"] == "ours"
    assert Job.of(config).trust == ("mypkg",)


def test_its_study_is_a_sweep(plugin):
    command = Command.parse(["experiment=ourstudy", "train.steps=2"])
    assert command.sweep and len(command.points) == 6
    assert {point.text for point in command.points} >= {"model=mynet seed=0", "model=daair_tiny router=mine seed=1"}


def test_a_plugin_whose_package_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(install_plugin(tmp_path, "vanished"))])
    plugins.conf_folders.cache_clear()
    try:
        with pytest.raises(UserError, match="plugin mypkg: there is no package vanished; install it again"):
            plugins.conf_folders()
    finally:
        plugins.conf_folders.cache_clear()


def test_a_stored_config_builds_what_is_ours_and_what_is_trusted(plugin):
    config = validate(Command.parse(["router=mine"]).master)
    stored, file = config.to_dict(), Path("config.yaml")
    assert named_packages(stored) == {"mypkg"}
    refuse_untrusted(stored, file, PARTS, ["mypkg"])
    with pytest.raises(UserError, match="^config.yaml: refused, .*'mypkg.ByBrightness'.*add --trust mypkg"):
        refuse_untrusted(stored, file, PARTS, [], "--trust {}")
    hostile = ("os.system", "torch.hub.load", "daair.files.os.remove", "daair.files.write_text", 3, None)
    for target in (*hostile, "mypkg.parts.torch.hub.load", "mypkg.parts.torch", "mypkg.parts", "mypkg.nothing"):
        with pytest.raises(UserError, match="config.yaml: refused, since it names"):
            refuse_untrusted({**stored, "loss": {"_target_": target}}, file, PARTS, ["mypkg"])
    with pytest.raises(UserError, match="refused, since it holds the interpolation"):
        refuse_untrusted({**stored, "loss": "${oc.create:{a:1}}"}, file, PARTS, ["mypkg"])


def test_what_a_package_passes_on_is_named_with_who_defines_it(plugin):
    assert named_packages({"model": {"_target_": "mypkg.parts.nn.Conv2d"}}) == {"mypkg", "torch"}
    assert named_packages({"optimizer": {"_target_": "torch.optim.AdamW"}}) == set()


def test_the_guide_shows_what_the_package_holds():
    shown = re.findall(r"`([\w./]+\.(?:py|yaml|toml))`[^`]*\n\n```\w+\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(shown) == 9
    for name, snippet in shown:
        assert snippet in (PLUGIN / name).read_text(), name


@pytest.mark.parametrize("line", re.findall(r"^ {4}python run\.py (?!--help)(.*)$", GUIDE.read_text(), re.MULTILINE))
def test_commands_of_the_guide_compose(plugin, line):
    words = shlex.split(line)
    command = Command.parse(typed.flags_first([typed.spell_out(word, words) for word in words]))
    for point in command.points:
        validate(command.composer.compose_job(point.overrides))

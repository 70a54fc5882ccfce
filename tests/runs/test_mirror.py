"""Weights & Biases: real offline runs, and every way in which the mirror may break without taking the run along."""

from pathlib import Path

import pytest
from PIL import Image

from daair.runs.mirror import Mirror


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def mirror(folder: Path, mode: str, lines: list[str]) -> Mirror:
    return Mirror(
        folder,
        mode=mode,
        project="test",
        entity=None,
        images=True,
        study="study",
        name="variant-12345678/seed0",
        config={"a": {"b": 1}},
        say=lines.append,
    )


def test_offline_run_needs_no_account_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    lines: list[str] = []
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    run = mirror(tmp_path, "offline", lines)
    run.log(1, {"loss": 0.5})
    run.log_images(1, {"sample": picture})
    run.log_routing(1, {"mean": [[0.5, 0.5], [0.5, 0.5]]}, ["noise", "rain"])
    run.summarise({"psnr": 30.0})
    run.finish(0)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb")) and list(folder.glob("files/media/images/*.png"))
    assert lines == [] and capfd.readouterr() == ("", "")


def test_online_without_a_key_is_one_line_and_goes_on_offline(tmp_path: Path) -> None:
    lines: list[str] = []
    run = mirror(tmp_path, "online", lines)
    run.log(1, {"loss": 0.5})
    run.finish(0)
    assert lines == ["Weights & Biases: no API key found (wandb login), so this run is logged offline"]
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_online_without_a_network_is_one_line_and_goes_on_offline(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("daair.runs.mirror.INIT_TIMEOUT", 2)
    lines: list[str] = []
    run = mirror(tmp_path, "online", lines)
    run.finish(0)
    assert len(lines) == 1 and "no connection" in lines[0] and "logged offline" in lines[0]
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_breaking_later_switches_off_with_one_line(tmp_path: Path) -> None:
    class Broken:
        def log(self, *args, **kwargs) -> None:
            raise BrokenPipeError("the service is gone")

    lines: list[str] = []
    run = mirror(tmp_path, "disabled", lines)
    run.run = Broken()
    run.log(1, {})
    run.log(2, {})
    run.finish(1)
    assert lines == ["Weights & Biases: switched off for this run (the service is gone); its folder has everything"]


def test_disabled_does_nothing(tmp_path: Path) -> None:
    run = mirror(tmp_path, "disabled", [])
    run.log(1, {})
    run.finish(0)
    assert list(tmp_path.iterdir()) == []

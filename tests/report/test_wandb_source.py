"""Collating from Weights & Biases: real `wandb.Api` against the stub of its server."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import wandb
from helpers import job
from synthetic import make_run, rows
from wandb_stub import ENTITY, StoredRun, WandbStub

from daair.cli import conf_dir
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.report import frame as collate
from daair.report import wandb_source
from daair.report.wandb_source import gather
from daair.runs import mirror
from daair.runs.record import Record
from daair.tasks import collate as task

PROJECT = f"{ENTITY}/papers"
ID = "rank4-0000000a"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbStub]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with WandbStub() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
    wandb.teardown()  # it remembers which server it talked to


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The folder of runs of another machine: three seeds, one of them not measured."""
    runs = tmp_path / "elsewhere"
    for seed in range(2):
        make_run(runs, ID, seed, rows([30.0 + seed, 31.0]))
    make_run(runs, ID, 2, None, status={"state": "running"})
    return runs


def upload(server: WandbStub, folder: Path, **fields: object) -> StoredRun:
    """As the mirror sends a run's folder."""
    record = Record(folder)
    files = {str(file.relative_to(record.root)): file.read_bytes() for file in record.collated}
    files |= {f"media/images/sample_{i}.png": b"" for i in range(3)} | {"config.yaml": b"W&B's own"}
    study, variant, seed = folder.parts[-3:]
    identity = mirror.run_id(study, f"{variant}/{seed}")
    defaults = {"id": identity, "project": "papers", "group": study, "files": files, "state": "finished"}
    return server.add(StoredRun(**{**defaults, **fields}))


def upload_all(server: WandbStub, runs: Path) -> list[StoredRun]:
    return [upload(server, folder) for folder in sorted(runs.glob("*/*/seed*"))]


def test_same_frame_as_from_the_folders(server: WandbStub, elsewhere: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wandb_source, "PAGE", 2)
    upload_all(server, elsewhere)[2].state = "running"
    make_run(elsewhere, ID, 0, study="another")
    upload(server, elsewhere / "another" / ID / "seed0")
    found, folder = gather("wandb", PROJECT, tmp_path / "here", "rank")
    pd.testing.assert_frame_equal(found.frame, collate.frame(elsewhere, "rank").frame)
    assert found.left_out == () and server.queries.count("Runs") == 2
    assert Record(folder / "rank" / ID / "seed0").config() == Record(elsewhere / "rank" / ID / "seed0").config()
    both, _ = gather("wandb", PROJECT, tmp_path / "here")
    pd.testing.assert_frame_equal(both.frame, collate.frame(elsewhere).frame)


def test_same_tables_as_from_the_folders(server: WandbStub, elsewhere: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])
    upload_all(server, elsewhere)[2].state = "running"
    tables = []
    for runs, *source in ((elsewhere,), (tmp_path / "here", "collate.source=wandb", f"collate.project={PROJECT}")):
        composed = Composer(conf_dir()).compose(["task=collate", "study=rank", f"paths.runs={runs}", *source])
        assert task.collate(job(validate(composed))) == 0
        tables.append({name: (runs / "rank" / name).read_text() for name in ("runs.csv", "table.csv", "table.md")})
    assert tables[0] == tables[1]


def test_only_what_changed_is_fetched_again(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    uploaded = upload_all(server, elsewhere)
    gather("wandb", PROJECT, tmp_path / "here", "rank")
    server.downloads.clear(), server.queries.clear()
    gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert server.downloads == [] and "RunFiles" not in server.queries
    shutil.rmtree(elsewhere / "rank" / ID / "seed1")
    make_run(elsewhere, ID, 1, rows([40.0, 41.0]))
    upload(server, elsewhere / "rank" / ID / "seed1")
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert {name.rpartition("/")[0] for name in server.downloads} == {f"rank/{ID}/seed1"}
    assert found.frame.query("seed == 1")["psnr"].tolist() == [40.0, 41.0]
    del server.runs[uploaded[0].id]
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert sorted(set(found.frame["seed"])) == [1, 2], "a run that was deleted there is not shown here"


def test_several_studies_from_folders_and_a_project(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    make_run(elsewhere, ID, 5, study="another")
    make_run(elsewhere, ID, 6, study="third")
    upload_all(server, elsewhere)
    here = tmp_path / "here"
    make_run(here, ID, 0)
    make_run(here, ID, 9, study="archive/old")
    (here / "archive/old" / ID).rename(here / "archive/old/renamed")
    found, folder = gather("both", PROJECT, here, ["rank", "another", "archive/old"])
    own = found.runs[["study", "label", "seed"]].values.tolist()
    assert own == [["another", "rank4", 5], ["archive/old", "renamed", 9], *(["rank", "rank4", k] for k in range(3))]
    assert all((folder / run / "config.yaml").is_file() for run in found.runs["run"])
    with pytest.raises(UserError, match=r"collate.project=.*: no runs of study=nix"):
        gather("both", PROJECT, here, ["rank", "nix"])


def test_both_count_a_run_once_as_its_folder_says(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    upload_all(server, elsewhere)
    here = tmp_path / "here"
    make_run(here, ID, 0, rows([20.0, 20.0]))
    make_run(here, ID, 7, rows([21.0, 21.0]))
    before = {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()}
    found, folder = gather("both", PROJECT, here, "rank")
    assert found.runs["seed"].tolist() == [0, 1, 2, 7]
    assert found.frame.groupby("seed")["psnr"].first().tolist()[:2] == [20.0, 31.0]
    assert (folder / "rank" / ID / "seed0").resolve() == (here / "rank" / ID / "seed0").resolve()
    assert not any("seed0" in name for name in server.downloads), "what is here needs not be fetched"
    assert all(file.stat().st_mtime_ns == time for file, time in before.items()), "folders are only read"
    assert collate.frame(here).runs["seed"].tolist() == [0, 7], "what was fetched is not among the user's own runs"


def test_a_run_counts_once_whatever_it_is_called(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    """The label is for people: config id and seed tell what a run is."""
    upload_all(server, elsewhere)
    here, renamed = tmp_path / "here", ID.replace("rank4", "r4")
    make_run(here, renamed, 0, rows([20.0, 20.0]))
    found, _ = gather("both", PROJECT, here, "rank")
    assert found.runs["run"].tolist() == [f"rank/{renamed}/seed0", f"rank/{ID}/seed1", f"rank/{ID}/seed2"]
    make_run(elsewhere, renamed, 1, rows([50.0, 50.0]))
    upload(server, elsewhere / "rank" / renamed / "seed1")
    found, _ = gather("wandb", PROJECT, tmp_path / "there", "rank")
    assert found.frame.query("seed == 1")["psnr"].tolist() == [50.0, 50.0]


@pytest.mark.parametrize("other", ["aaa", "zzz"])
def test_a_run_is_read_from_its_newest_folder(
    server: WandbStub, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Its config got another label in between; files on the server keep their names."""
    make_run(elsewhere, ID.replace("rank4", other), 5, None, status={"state": "interrupted"})
    make_run(elsewhere, ID.replace("rank4", "mmm"), 5, rows([50.0]))
    old = upload(server, elsewhere / "rank" / ID.replace("rank4", other) / "seed5")
    updated = dict.fromkeys(old.files, "2026-11-01T10:00:00Z")
    new = upload(server, elsewhere / "rank" / ID.replace("rank4", "mmm") / "seed5", id=old.id, updated=updated)
    new.files |= old.files
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert found.runs["run"].tolist() == [f"rank/mmm-{ID[-8:]}/seed5"] and found.frame["psnr"].tolist() == [50.0]


def test_killed_run_counts_as_interrupted(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    upload_all(server, elsewhere)[2].state = "crashed"
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert found.runs["state"].tolist() == ["done", "done", "interrupted"]


def test_strangers_and_copies_are_left_out_with_a_reason(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    upload_all(server, elsewhere)
    server.add(StoredRun("stranger", "papers", group="rank", files={"config.yaml": b"lr: 1"}))
    server.add(
        StoredRun("wicked", "papers", group="rank", files={"../../x/status.json": b"", "../../x/config.yaml": b""})
    )
    upload(server, elsewhere / "rank" / ID / "seed0", id="renamed")
    upload(server, elsewhere / "rank" / ID / "seed1").files[f"rank/{ID}/seed1/status.json"] = b'{"state": '
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    reasons = {one.path: one.reason for one in found.left_out}
    assert reasons[f"{PROJECT}/stranger"].startswith("not a run of DaAIR Lab")
    assert reasons[f"{PROJECT}/wicked"].startswith("not a run of DaAIR Lab")
    assert f"{PROJECT}/renamed is the same run, and newer" in reasons.values()
    assert "status.json" in reasons[f"rank/{ID}/seed1"]
    assert found.runs["seed"].tolist() == [0, 2]


def test_too_many_requests_are_waited_for(server: WandbStub, elsewhere: Path, tmp_path: Path) -> None:
    upload_all(server, elsewhere)
    server.refuse(429, 2)
    found, _ = gather("wandb", PROJECT, tmp_path / "here", "rank")
    assert len(found.runs) == 3


@pytest.mark.parametrize(
    ("variables", "project", "text"),
    [
        ({"WANDB_API_KEY": ""}, PROJECT, r"collate.source: .*no API key found \(wandb login, or WANDB_API_KEY\)"),
        ({"WANDB_API_KEY": "f" * 40}, PROJECT, "collate.source: .*invalid API key"),
        ({"WANDB_MODE": "offline"}, PROJECT, "collate.source: .*WANDB_MODE=offline is set"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, PROJECT, "collate.source: .*no answer from http://127.0.0.1:9"),
        ({}, f"{ENTITY}/typo", f"collate.project={ENTITY}/typo: no such project at http://127.0.0.1"),
        ({}, PROJECT, f"collate.project={PROJECT}: no runs of study=rank"),
    ],
    ids=["no key", "refused key", "told to be offline", "no network", "no project", "no runs"],
)
def test_what_is_missing_is_told_in_one_line(
    server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict, project: str, text: str
) -> None:
    server.add(StoredRun("other", "papers", group="another"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    begin = time.monotonic()
    with pytest.raises(UserError, match=text) as caught:
        gather("wandb", project, tmp_path / "here", "rank")
    assert "\n" not in str(caught.value) and time.monotonic() - begin < 40
    assert not os.path.exists(tmp_path / "no-netrc"), "nobody was asked for a key"


def test_server_that_goes_away_ends_it(server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_source, "_files", lambda run: {}["the network"])
    for i in range(40):
        server.add(StoredRun(f"run{i}", "papers", group="rank"))
    with pytest.raises(UserError, match="16 runs in a row cannot be read; the last error: 'the network'"):
        gather("wandb", PROJECT, tmp_path / "here", "rank")

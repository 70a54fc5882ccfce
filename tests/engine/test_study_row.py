"""Networks that a study did not train, as rows of its table: real weights, the real commands."""

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers import SMALL, kill_tree, make_photographs, run, start

from daair import checkpoint
from daair.config.jobs import Command
from daair.errors import UserError
from daair.files import natural_key
from daair.report.frame import frame
from daair.runs import store
from daair.runs.record import Record

NAFNET = [
    "model=nafnet_tiny", "model.channels=4", "model.encoder_blocks=[1]", "model.middle_blocks=1",
    "model.decoder_blocks=[1]",
]  # fmt: skip
MEASURED = "benchmarks=[demo_noise25,demo_rain]"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A study with two seeds of a network, and the weights of the first as somebody might publish them."""
    root = tmp_path_factory.mktemp("lab")
    data, runs = make_photographs(root / "data"), root / "runs"
    training = [o for o in SMALL if not o.startswith(("model", "experts", "benchmarks"))]
    for seed in (0, 1):
        given = [*training, *NAFNET, f"mix.root={data}", "study=peers", f"seed={seed}", "train.steps=1", MEASURED]
        code, output = run([*given, "label=PromptIR", f"paths.runs={runs}"])
        assert code == 0, output
    (trained,) = runs.glob("peers/*/seed0")
    state = {f"net.{name}": tensor for name, tensor in checkpoint.load(trained).state_dict().items()}
    torch.save({"state_dict": state}, root / "theirs.pth")
    return SimpleNamespace(root=root, runs=runs, trained=trained, file=root / "theirs.pth")


def evaluate(lab: SimpleNamespace, *more: str, checkpoint: Path | None = None) -> str:
    task = ["task=evaluate", f"checkpoint={checkpoint or lab.file}", f"paths.runs={lab.runs}", "device=cpu"]
    network = [] if checkpoint else NAFNET
    code, output = run([*task, *network, "train.threads=1", *more])
    assert code == 0, output
    return output


def record_of(lab: SimpleNamespace, study: str) -> Record:
    (folder,) = lab.runs.glob(f"{study}/*/{store.EVALUATED_FOLDER}")
    return Record(folder)


def test_somebodys_weights_stand_in_a_table_beside_trained_and_printed_ones(lab: SimpleNamespace) -> None:
    """Even under the label and with the config of a variant that was trained, and with its weights."""
    output = evaluate(lab, MEASURED, "study=peers", "label=PromptIR")
    assert "demo_rain" in output and "task=collate study=peers" in output
    record, digest = record_of(lab, "peers"), hashlib.sha256(lab.file.read_bytes()).hexdigest()
    noted, own = record.summary(), Record(lab.trained).summary()
    assert (noted["origin"], noted["weights_file"], noted["weights_digest"]) == (
        "published weights", "theirs.pth", digest,
    )  # fmt: skip
    assert (noted["parameters"], noted["macs"]) == (own["parameters"], own["macs"])
    assert record.status().state == "done" and record.status().commit == Record(lab.trained).status().commit
    assert record.config()["model"]["channels"] == 4 and "train" not in record.config()
    assert record.environment()["processor"] and record.results()["protocol"].unique().tolist() == ["promptir"]
    columns = ["psnr", "ssim"]
    same = Record(lab.trained).results()[columns] - record.results()[columns]
    assert same.abs().max().max() < 1e-9, "the same weights"

    task = ["task=collate", "study=peers", f"paths.runs={lab.runs}", "collate.reference={label:PromptIR}"]
    code, output = run(task)
    assert code == 0, output
    markdown = (lab.runs / "peers" / "table.md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("| PromptIR")]
    trained, published = lines[:2]
    assert trained.startswith("| PromptIR |") and "±" in trained
    assert published.startswith("| PromptIR (published weights) |") and "±" not in published
    assert "\\*" not in published and "<u>" not in published and "seeds 0, 1 of" in markdown
    assert f"PromptIR (published weights): theirs.pth, SHA-256 {digest[:8]}." in markdown
    assert published.split("|")[-4:-2] == trained.split("|")[-4:-2], "parameters and MACs"
    for name in ("table.tex", "report.html"):
        assert "PromptIR (published weights)" in (lab.runs / "peers" / name).read_text(), name
    numbers = pd.read_csv(lab.runs / "peers" / "table.csv").set_index("label")
    row = numbers.loc["PromptIR (published weights)"]
    assert set(row["weights_digest"]) == {digest} and row["seeds"].isna().all() and row["p"].isna().all()
    assert row.loc[row["metric"] == "psnr", "delta"].notna().all()
    assert numbers.loc["PromptIR", "seeds"].eq(2).all() and numbers.loc["PromptIR", "weights_digest"].isna().all()
    table = frame(lab.runs, "peers").frame
    assert table.loc[table["origin"].notna(), "seed"].isna().all() and table["seed"].nunique() == 2


def test_the_same_file_again_measures_what_is_missing(lab: SimpleNamespace) -> None:
    evaluate(lab, "benchmarks=[demo_noise25]", "study=again")
    record = record_of(lab, "again")
    assert record.folder.parent.name.startswith("theirs-") and record.summary()["label"] == "theirs"
    rows = pd.read_csv(record.results_file, dtype=str)
    rows.loc[0, "psnr"] = "nan"  # a score that is not a number has been measured; another time would not change it
    rows.to_csv(record.results_file, index=False)
    first = record.results()
    output = evaluate(lab, MEASURED, "study=again", "label='Net (2022)'")
    assert "measured before, not again: demo_noise25" in output and "evaluate 3/3  demo_noise25" not in output
    pd.testing.assert_frame_equal(record.results().iloc[: len(first)], first)
    assert record.status().attempt == 2 and set(record.results()["benchmark"]) == {"demo_noise25", "demo_rain"}
    output = evaluate(lab, MEASURED, "study=again")
    assert "measured before, not again: demo_noise25, demo_rain" in output and record.status().attempt == 2
    assert frame(lab.runs, "again").runs["label"].tolist() == ["Net (2022)"], "as given, and kept"
    output = evaluate(lab, MEASURED, "study=again", "evaluate.tile=64", "evaluate.overlap=8")
    assert "with other settings before, now again: demo_noise25, demo_rain" in output and set(
        record.results()["tile"]
    ) == {64}
    evaluate(lab, MEASURED, "study=again", "evaluate.tile=64", "evaluate.overlap=8", "protocols=[moceir]")
    assert set(record_of(lab, "again").results()["protocol"]) == {"promptir", "moceir"}


def test_a_killed_evaluation_keeps_what_was_finished(lab: SimpleNamespace) -> None:
    three = "benchmarks=[demo_noise25,demo_rain,demo_haze]"
    task = ["task=evaluate", f"checkpoint={lab.file}", f"paths.runs={lab.runs}", "device=cpu", "study=killed"]
    slow = [three, "evaluate.tile=32", "evaluate.overlap=16"]  # some seconds for each benchmark
    victim = start([*task, *NAFNET, *slow])
    while not (found := [*lab.runs.glob(f"killed/*/{store.EVALUATED_FOLDER}/results.csv")]):
        assert victim.poll() is None, victim.communicate()[0]
        time.sleep(0.02)
    kill_tree(victim.pid)
    victim.communicate()
    record = Record(found[0].parent)
    before = record.results()
    assert record.status().state == "running" and set(before["benchmark"]) < {"demo_noise25", "demo_rain", "demo_haze"}
    output = evaluate(lab, "study=killed", *slow)
    assert f"measured before, not again: {', '.join(before['benchmark'].unique())}\n" in output
    assert record.status().state == "done" and record.status().attempt == 2
    pd.testing.assert_frame_equal(record.results().iloc[: len(before)], before)
    assert record.results()["benchmark"].nunique() == 3


def test_a_run_of_ones_own_and_a_method_without_weights(lab: SimpleNamespace) -> None:
    before = (lab.trained / "results.csv").read_bytes()
    evaluate(lab, "benchmarks=[demo_haze]", "study=mine", "label=Ours", checkpoint=lab.trained)
    evaluate(lab, "benchmarks=[demo_haze]", "study=mine", "label=Ours", checkpoint=lab.trained.with_name("seed1"))
    task = ["task=evaluate", "model=identity", f"paths.runs={lab.runs}", "study=mine", "label=Input", "device=cpu"]
    assert run([*task, "benchmarks=[demo_haze]"])[0] == 0
    assert (lab.trained / "results.csv").read_bytes() == before, "the run's own rows are left alone"
    code, output = run(["task=collate", "study=mine", f"paths.runs={lab.runs}"])
    assert code == 0, output
    rows = [line.split(" | ")[0] for line in (lab.runs / "mine" / "table.md").read_text().splitlines()]
    ids = [run.id for run in map(store.read, store.run_folders(lab.runs, "mine")) if run.label == "Ours"]
    expected = [
        "| Input (no weights)",
        *(f"| Ours (weights of a run, {name})" for name in sorted(ids, key=natural_key)),
    ]
    assert [row for row in rows if row.startswith(("| Input", "| Ours"))][:3] == expected
    code, output = run(["task=status", "study=mine", f"paths.runs={lab.runs}"])
    assert code == 0 and "3 done" in output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["label=x"], "label: unused without study=NAME, in whose table it would name the row"),
        (["study=x", "output=y"], "output: unused with study=..., whose folder holds the rows; leave out one of them"),
    ],
    ids=["label", "output"],
)
def test_what_would_be_ignored_is_refused(more: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _ = Command.parse(["task=evaluate", "model=identity", "benchmarks=[demo_rain]", *more]).jobs
    assert str(caught.value) == message

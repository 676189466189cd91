"""The verbs that read sweeps: list, status, results, best, report, export; and plan, tasks, schema."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from swathe.analysis import digest, load
from swathe.orchestrator.cli import results
from swathe.orchestrator.cli.printing import as_json, duration, number


def read(shown) -> object:
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


# Finding sweeps


def test_an_unknown_sweep_gives_the_nearest(workplace: Path, call) -> None:
    shown = call("status", "tny")
    assert shown.exit_code == 2
    assert "there is no sweep 'tny' in sweeps; did you mean `tiny`?" in shown.stderr


def test_where_there_is_no_sweep_the_error_says_how_to_get_one(project: Path, call) -> None:
    shown = call("results", "tiny")
    assert shown.exit_code == 2
    assert "none at all in sweeps; start one with `swathe run SPEC`" in shown.stderr


@pytest.mark.parametrize("name", ["tiny", "sweeps/tiny", "./sweeps/tiny/"])
def test_a_sweep_is_found_by_name_and_by_path(name: str, workplace: Path, call) -> None:
    assert read(call("status", name, "--json"))["name"] == "tiny"


def test_a_sweep_is_found_from_inside_and_by_dir(finished: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished / "sweeps" / "tiny")
    assert read(call("status", ".", "--json"))["name"] == "tiny"
    assert read(call("status", "tiny", "--dir", finished / "sweeps", "--json"))["name"] == "tiny"
    assert call("status", "tiny").exit_code == 2


# list


def test_list(workplace: Path, call) -> None:
    rows = read(call("list", "--json"))
    assert [(row["name"], row["status"]) for row in rows] == [("mixed", "finished"), ("tiny", "finished")]
    assert rows[0]["trials"]["failed"] == 4
    assert rows[1]["trials"] == {
        "total": 28, "decided": 28, "open": 0, "complete": 28, "pruned": 0, "diverged": 0, "failed": 0,
    }  # fmt: skip
    shown = call("list").stdout.splitlines()
    assert shown[0].split() == ["name", "status", "trials", "failed", "best", "metric", "started"]
    assert shown[2].split()[:4] == ["tiny", "finished", "28/28", "0"]


def test_list_of_nothing(project: Path, call) -> None:
    assert read(call("list", "--json")) == []
    assert call("list").stdout == "No sweep in sweeps; start one with `swathe run SPEC`.\n"


def test_a_broken_ledger_hides_no_other_sweep(project: Path, call) -> None:
    assert call("run", "sweep.yaml", "--cluster", "inline").exit_code == 0
    (project / "sweeps" / "broken").mkdir()
    (project / "sweeps" / "broken" / "ledger.db").write_text("no database at all, but long enough to be read as one")
    assert [row["status"] for row in read(call("list", "--json"))] == ["unreadable", "finished"]
    assert "unreadable" in call("list").stdout


# status


def test_status(workplace: Path, call) -> None:
    told = read(call("status", "mixed", "--json"))
    assert told["causes"] == {"user_error": 4}
    assert told["trials"]["diverged"] == 4
    assert [cell["values"] for cell in told["cells"]] == [{"width": 64}, {"width": 128}]
    assert {cell["trials"]["decided"] for cell in told["cells"]} == {14}
    assert len(told["failures"]) == 4
    failure = told["failures"][0]
    assert failure["params"] == {"lr": 0.5}
    assert failure["message"] == "RuntimeError: the learning rate 0.5 is too large"
    assert failure["rerun"] == f"swathe rerun mixed {failure['trial']}"


def test_status_for_people(workplace: Path, call) -> None:
    shown = call("status", "mixed").stdout
    assert "mixed: finished, 28 of 28 trials decided" in shown
    assert "20 complete, 4 diverged, 4 failed, 0 waiting or running" in shown
    assert "4 trials failed: 4 user_error" in shown
    assert "RuntimeError: the learning rate 0.5 is too large" in shown
    assert "again: swathe rerun mixed" in shown


def test_the_log_of_a_failure_is_named_when_there_is_one(project: Path, call) -> None:
    text = (project / "train.py").read_text().replace("    if p[", "    print('trying', p['lr'])\n    if p[", 1)
    (project / "train.py").write_text(text)
    assert call("run", "sweep.yaml", "--cluster", "inline", "--set", "fixed.crash=0.9").exit_code == 1
    log = read(call("status", "tiny", "--json"))["failures"][0]["log"]
    assert Path(log).read_text() == "trying 1.0\n"
    assert str(Path(log).relative_to(project)) in call("status", "tiny").stdout


# results


def test_results_for_people(workplace: Path, call) -> None:
    shown = call("results", "mixed").stdout.splitlines()
    assert shown[0].split() == ["trial", "state", "value", "width", "lr"]
    assert len(shown) == 29
    assert {line.split()[1] for line in shown[1:]} == {"COMPLETE", "diverged", "user_error"}
    assert [line.split()[2] == "-" for line in shown[1:]] == [line.split()[1] != "COMPLETE" for line in shown[1:]]


def test_results_in_every_form_agree(workplace: Path, call, tmp_path: Path) -> None:
    trials = load.trials(workplace / "sweeps" / "mixed")
    rows = read(call("results", "mixed", "--json"))
    assert [*rows[0]] == [*trials.columns]
    csv = pd.read_csv(io.StringIO(call("results", "mixed", "--csv").stdout))
    assert [*csv.columns] == [*trials.columns]
    assert call("results", "mixed", "--parquet", tmp_path / "t.parquet").exit_code == 0
    parquet = pd.read_parquet(tmp_path / "t.parquet")
    for frame in (csv, parquet, pd.DataFrame(rows)):
        pairs = dict(zip(frame["trial"], frame["value"].astype(float), strict=True))
        for trial, value in zip(trials["trial"], trials["value"], strict=True):
            assert pairs[trial] == value if not pd.isna(value) else math.isnan(pairs[trial])


def test_results_are_limited(workplace: Path, call) -> None:
    assert len(read(call("results", "tiny", "--json", "--limit", 3))) == 3
    assert len(call("results", "tiny", "--csv", "--limit", 3).stdout.splitlines()) == 4
    shown = call("results", "tiny", "--limit", 3).stdout.splitlines()
    assert (len(shown), shown[-1]) == (5, "and 25 more trials; --limit 28 or --csv shows all")


def test_the_forms_of_results_exclude_each_other(workplace: Path, call) -> None:
    shown = call("results", "tiny", "--csv", "--hash")
    assert shown.exit_code == 2
    assert "--csv and --hash exclude each other" in shown.stderr


def test_the_hash_stands_alone_on_its_line(workplace: Path, call) -> None:
    wanted = digest.digest(*load.tables(workplace / "sweeps" / "tiny"))
    shown = call("results", "tiny", "--hash")
    assert (shown.stdout, shown.stderr) == (f"{wanted.hexdigest}\n", "")


def test_columns_that_do_not_fit_are_named() -> None:
    texts = {"trial": ["a" * 30], "state": ["COMPLETE"], "value": ["1.0"], "optimizer": ["sgd"], "width": ["64"]}
    outcome = 30 + 2 + 8 + 2 + 5
    assert results._fit(texts, 200) == [*texts]
    assert results._fit(texts, outcome + 2 + 9 + 2 + 5) == [*texts]
    assert results._fit(texts, outcome + 2 + 5 + 2) == ["trial", "state", "value", "width"]
    assert results._fit(texts, 10) == ["trial", "state", "value"]


# best


def test_best_is_the_best_mean_over_replicates(workplace: Path, call) -> None:
    told = read(call("best", "tiny", "--json"))
    trials = load.trials(workplace / "sweeps" / "tiny")
    means = trials.groupby(["cell", "configuration"])["value"].mean()
    for cell in told["cells"]:
        of_cell = means[cell["cell"]]
        assert cell["configuration"] == of_cell.idxmin()
        assert cell["mean"] == pytest.approx(of_cell.min())
        assert cell["params"] == {"lr": 2.0**-4}
        assert (cell["seeds"], cell["values"]["width"] in (64, 128)) == (2, True)
        assert cell["standard_error"] > 0


def test_best_respects_the_direction(project: Path, call) -> None:
    assert call("run", "sweep.yaml", "--cluster", "inline", "--set", "direction=maximize").exit_code == 0
    assert {cell["params"]["lr"] for cell in read(call("best", "tiny", "--json"))["cells"]} == {1.0}


def test_best_for_people(workplace: Path, call) -> None:
    shown = call("best", "tiny").stdout.splitlines()
    assert shown[0].split() == ["width", "loss", "std.", "error", "seeds", "trials", "parameters"]
    assert shown[1].split()[0] == "64"
    assert shown[1].endswith("lr=0.0625")
    assert "2/2" in shown[1]


# report and export


def test_report_prints_its_path(workplace: Path, call) -> None:
    shown = call("report", "mixed")
    assert shown.exit_code == 0, shown.output
    path = Path(shown.stdout.strip())
    assert path == workplace / "sweeps" / "mixed" / "report.html"
    assert path.read_text().lstrip().lower().startswith("<!doctype html")


def test_report_puts_its_figures_beside_it(workplace: Path, call) -> None:
    assert call("report", "tiny").exit_code == 0
    names = {path.name for path in (workplace / "sweeps" / "tiny" / "figures").iterdir()}
    assert names == {"configurations.pdf", "configurations.svg", "configurations.csv"}


def test_report_of_two_sweeps_compares_them(workplace: Path, call) -> None:
    shown = call("report", "tiny", "mixed")
    assert shown.exit_code == 0, shown.output
    path = workplace / "sweeps" / "tiny" / "report-vs-mixed.html"
    assert shown.stdout.strip() == str(path)
    text = path.read_text(encoding="utf-8")
    assert "which sweep has the better loss" in text and "fixed.crash" in text and "Spec of mixed" in text
    for names in (("tiny", "tiny"), ("tiny", "mixed", "tiny"), ("tiny", "tinny")):
        assert call("report", *names).exit_code == 2, names


def test_report_opens_a_browser_when_asked(workplace: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    monkeypatch.setattr("click.launch", launched.append)
    assert call("report", "mixed", "--open").exit_code == 0
    assert launched == [str(workplace / "sweeps" / "mixed" / "report.html")]


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_export_of_tables(target: str, workplace: Path, call, tmp_path: Path) -> None:
    for _ in range(2):
        shown = call("export", "tiny", "--to", target, "--output", tmp_path)
        assert shown.exit_code == 0, shown.output
        assert shown.stdout.splitlines() == [
            f"28 rows in {tmp_path / f'trials.{target}'}",
            f"112 rows in {tmp_path / f'metrics.{target}'}",
        ]
    assert len([*tmp_path.iterdir()]) == 2
    for table in ("trials", "metrics"):
        path = tmp_path / f"{table}.{target}"
        frame = pd.read_csv(path) if target == "csv" else pd.read_parquet(path)
        wanted = getattr(load, table)(workplace / "sweeps" / "tiny")
        assert [*frame.columns] == [*wanted.columns]
        assert frame["value"].tolist() == wanted["value"].tolist()


def test_export_into_no_folder_and_to_other_targets_is_refused(workplace: Path, call) -> None:
    shown = call("export", "tiny", "--to", "csv", "--output", "sweeps/tiny/spec.yaml")
    assert shown.exit_code == 2
    assert "cannot be written" in shown.stderr
    assert call("export", "tiny", "--to", "wandb", "--output", "x").exit_code == 2


# Printing


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers() -> None:
    assert [number(value) for value in (None, math.nan, 3, 0.123456789, -1e-9)] == ["-", "-", "3", "0.12346", "-1e-09"]


def test_json_knows_no_nan() -> None:
    assert json.loads(as_json({"a": [math.nan, -math.inf, 1.5], "b": Path("x")})) == {"a": [None, None, 1.5], "b": "x"}


def test_best_is_told_cell_by_cell_where_the_table_is_too_wide(
    workplace: Path, call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    shown = call("best", "tiny").stdout
    assert shown.startswith("width=64: loss ")
    assert max(map(len, shown.splitlines())) <= 50
    assert "\n    lr=0.0625\n" in shown

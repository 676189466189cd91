"""`swathe verify`: a study of the user's own, judged, gone on with, written down and read back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swathe.orchestrator.claims import Claim, Estimate
from swathe.orchestrator.cli.claims_page import MARKER, statuses

STUDY = """
from swathe.orchestrator import Claim, Estimate, Paper, Task
from swathe.tasks.blocks.estimators import drift, mean


def train(trial):
    '''Trains.'''
    with open("trained.txt", "a") as log:
        log.write(trial.name + "\\n")
    x = trial.params["x"]
    loss = (x - 2) ** 2 + trial.seed("noise") / 2**31 / 10
    trial.report(0, loss=loss)
    return {"loss": loss}


def broken(frames):
    raise ZeroDivisionError("no trials")


def figure(frames):
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.add_subplot().plot(frames.trials["value"].to_numpy(dtype=float))
    return drawn


SWEEP = {"metric": "loss", "search": {"x": {"choices": [1, 2, 3]}}, "sampler": "grid", "seeds": 3}
CLAIMS = (
    Claim("the loss | is small", SWEEP, mean("loss"), "below", 0.2),
    Claim("the loss is large", SWEEP, mean("loss"), "above", 0.2, remark="It is not."),
    Claim("nobody knows", {**SWEEP, "seeds": 2}, mean("loss"), "above", 0.2),
)
TASK = Task("mine", "A parabola.", train, ("loss",), paper=Paper("On Parabolas", ("Ruler",), 1999), claims=CLAIMS,
            figure=lambda frames, fewer: figure(frames))
BROKEN = Task("broken", "A parabola.", train, ("loss",), claims=(Claim("fails", SWEEP, broken, "below", 1),))
NONE = Task("none", "A parabola.", train, ("loss",))
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "study.py"
    file.write_text(STUDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return file


def trained(folder: Path) -> int:
    """How many trials have run. They run in the folder of the project."""
    return sum(len(log.read_text().splitlines()) for log in folder.rglob("trained.txt"))


@pytest.mark.parametrize(
    ("low", "high", "direction", "outcome"),
    [
        (0.1, 0.2, "below", "reproduced"),
        (0.1, 0.4, "below", "undecided"),
        (0.4, 0.5, "below", "not reproduced"),
        (0.4, 0.5, "above", "reproduced"),
        (0.1, 0.2, "above", "not reproduced"),
        (0.3, 0.3, "above", "undecided"),
        (None, None, "above", "undecided"),
    ],
)
def test_an_interval_decides(low, high, direction, outcome) -> None:
    claim = Claim("is 0.3", {}, lambda frames: Estimate(None, None, None, 0), direction, 0.3)
    assert claim.outcome(Estimate(0.2, low, high, 3)) == outcome


def test_outcomes_are_told_written_and_kept(call, study: Path) -> None:
    (study.parent / "README.md").write_text(f"My study.\n\n{MARKER}\nold", encoding="utf-8")
    (study.parent / "CLAIMS.md").write_text("## another\n\n| a | b | c | reproduced |\n", encoding="utf-8")
    shown = call("verify", "study.py:TASK", "--cluster", "inline", "--write", ".")
    assert shown.exit_code == 1, shown.output
    assert [line.split("  ")[1] for line in shown.stdout.splitlines() if "claimed" not in line and "loss" in line] == [
        "reproduced",
        "not reproduced",
    ]
    assert "It is not." in shown.stdout
    assert "2 seed(s): at least 3 are needed" in shown.stdout
    page = (study.parent / "CLAIMS.md").read_text(encoding="utf-8")
    assert "the loss \\| is small | below 0.2 | 0.0" in page
    assert dict(statuses(study.parent / "CLAIMS.md")) == {
        "another": {"reproduced": 1},
        "mine": {"reproduced": 1, "not reproduced": 1, "undecided": 1},
    }
    assert (study.parent / "gallery" / "mine.png").read_bytes().startswith(b"\x89PNG")
    hung = (study.parent / "README.md").read_text(encoding="utf-8")
    assert hung.startswith("My study.") and "![mine](gallery/mine.png)" in hung and "old" not in hung
    assert (before := trained(study.parent)) > 0
    told = json.loads(call("verify", "study.py:TASK", "--cluster", "inline", "--json").stdout)
    assert [each["outcome"] for each in told[0]["claims"]] == ["reproduced", "not reproduced", "undecided"]
    assert trained(study.parent) == before, "what is there was computed again"


def test_other_training_code_is_verified_anew_and_other_words_are_not(call, study: Path) -> None:
    common = ("verify", "study.py:TASK", "--cluster", "inline", "--json")
    call(*common)
    before = len([*(study.parent / "sweeps" / "verify").iterdir()])
    study.write_text(STUDY.replace("Trains.", "It trains.").replace('below", 0.2', 'below", 0.1'), encoding="utf-8")
    call(*common)
    assert len([*(study.parent / "sweeps" / "verify").iterdir()]) == before
    study.write_text(STUDY.replace("(x - 2) ** 2", "(x - 2) ** 4"), encoding="utf-8")
    call(*common)
    assert len([*(study.parent / "sweeps" / "verify").iterdir()]) == 2 * before


def test_without_time_claims_stay_unfinished_and_nothing_is_written(call, study: Path) -> None:
    shown = call("verify", "study.py:TASK", "--cluster", "inline", "--budget", "0.000001s", "--write", "pages")
    assert shown.exit_code == 1, shown.output
    assert shown.stdout.count("unfinished") == 3
    assert not (study.parent / "pages").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study.py:BROKEN"], "ZeroDivisionError: no trials at .*study.py:17; mend it"),
        (["study.py:NONE"], "'study.py:NONE' has no claims"),
        (["lr-transfr"], "did you mean lr-transfer?"),
        ([], "or say --all"),
        (["study.py:TASK", "--budget", "soon"], "'soon' is no time; write 90s"),
    ],
)
def test_mistakes_are_named(call, study: Path, arguments: list[str], message: str) -> None:
    shown = call("verify", *arguments, "--cluster", "inline")
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    assert re.search(message.replace("?", "[?]"), shown.stderr), shown.stderr

"""`swathe rerun`: one trial again, compared with its record."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swathe.orchestrator import spec
from swathe.orchestrator.messages import TrialKey


def cells(folder: Path) -> list[str]:
    return [cell.key for cell in spec.load(folder / "sweep.yaml").cells]


def contents(folder: Path) -> dict[str, bytes]:
    skipped = ("ledger.db-wal", "ledger.db-shm")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in skipped)
    return {str(path): path.read_bytes() for path in files}


def test_a_trial_comes_out_equal(workplace: Path, call) -> None:
    before = contents(workplace / "sweeps" / "tiny")
    shown = call("rerun", "tiny", f"{cells(workplace)[0][:4]}/3/1")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith(f"{cells(workplace)[0]}/3/1  width=64 lr=0.125\n")
    assert f"trained {cells(workplace)[0]}/3/1\n" in shown.stdout
    assert shown.stdout.endswith("\nequal\n")
    assert [line.split() for line in shown.stdout.splitlines() if line.startswith("state")] == [
        ["state", "COMPLETE", "COMPLETE"]
    ]
    assert contents(workplace / "sweeps" / "tiny") == before


def test_artifacts_go_to_a_folder_of_their_own(workplace: Path, call) -> None:
    shown = call("rerun", "tiny", f"{cells(workplace)[0]}/0/0")
    folder = Path(next(line for line in shown.stdout.splitlines() if line.startswith("artifacts: ")).split(": ")[1])
    assert not folder.is_relative_to(workplace)
    assert [path.name for path in folder.rglob("*.txt")] == ["weights.txt"]


def test_a_failure_fails_again(workplace: Path, call) -> None:
    shown = call("rerun", "mixed", f"{cells(workplace)[1]}/5/0")
    assert shown.exit_code == 0, shown.output
    assert "RuntimeError: the learning rate 0.5 is too large" in shown.stderr
    assert shown.stdout.endswith("\nequal\n")
    assert "user_error" in shown.stdout


def test_divergence_repeats(workplace: Path, call) -> None:
    shown = call("rerun", "mixed", f"{cells(workplace)[1]}/6/1")
    assert shown.exit_code == 0, shown.output
    assert "diverged" in shown.stdout


def test_changed_code_comes_out_different(project: Path, call) -> None:
    assert call("run", "sweep.yaml", "--cluster", "inline").exit_code == 0
    text = (project / "train.py").read_text()
    (project / "train.py").write_text(text.replace('"noise": noise', '"noise": noise + 1').replace("** 2 +", "** 4 +"))
    shown = call("rerun", "tiny", f"{cells(project)[0]}/0/0")
    assert shown.exit_code == 1
    assert "different: value, metric.loss. Equal results need the same code" in shown.stdout


def test_an_environmental_failure_is_not_compared(project: Path, call) -> None:
    call("run", "sweep.yaml", "--cluster", "inline", "--set", "fixed.starve=0.6", "--set", "limits.attempts=1")
    text = (project / "train.py").read_text()
    (project / "train.py").write_text(text.replace("raise MemoryError", "print"))
    shown = call("rerun", "tiny", f"{cells(project)[0]}/6/0")
    assert shown.exit_code == 0, shown.output
    assert "recorded as out_of_memory, which says nothing of the trial itself" in shown.stdout


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ("zz/0/0", "no cell begins with 'zz'; did you mean"),
        ("/0/0", "2 cells begin with ''"),
        ("0", "'0' is no trial; write cell/configuration/replicate, such as"),
        ("a/b/c", "'a/b/c' is no trial"),
        ("{cell}/7/0", "its configuration is above 6"),
        ("{cell}/0/2", "its replicate is above 1"),
    ],
)
def test_an_unknown_trial_gives_a_remedy(trial: str, message: str, workplace: Path, call) -> None:
    shown = call("rerun", "tiny", trial.format(cell=cells(workplace)[0]))
    assert shown.exit_code == 2
    assert message in shown.stderr


def test_a_trial_that_was_not_proposed(project: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("run", "sweep.yaml", "--cluster", "inline").exit_code == 0
    monkeypatch.setattr("swathe.orchestrator.ledger.Reader.suggestion", lambda *_: None)
    shown = call("rerun", "tiny", str(TrialKey(cells(project)[0], 0, 0)))
    assert shown.exit_code == 2
    assert "has not been proposed yet" in shown.stderr


def test_debug_opens_the_debugger_where_it_was_raised(workplace: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    functions: list[str] = []

    def post_mortem(trace) -> None:
        while trace.tb_next:
            trace = trace.tb_next
        functions.append(trace.tb_frame.f_code.co_name)

    monkeypatch.setattr("pdb.post_mortem", post_mortem)
    shown = call("rerun", "mixed", f"{cells(workplace)[1]}/5/0", "--debug")
    assert (shown.exit_code, functions) == (0, ["train"])
    assert call("rerun", "tiny", f"{cells(workplace)[1]}/5/0", "--debug").exit_code == 0
    assert functions == ["train"]


def test_ctrl_c_ends_it_without_an_outcome(workplace: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    module = next(module for name, module in sys.modules.items() if name.startswith("swathe_task_train"))
    assert module
    monkeypatch.setattr("math.log2", interrupt)
    shown = call("rerun", "tiny", f"{cells(workplace)[0]}/0/0")
    assert shown.exit_code == 130
    assert "state" not in shown.stdout


def interrupt(*_: object) -> float:
    raise KeyboardInterrupt

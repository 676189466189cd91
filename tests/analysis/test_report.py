import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from swathe.analysis import report
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.spec import parse

SPEC = """name: transfer-digits
task: train.py:train
metric: train_loss     # <final> & fair
grid: {width: [64, 128, 256, 512]}
search: {lr: {log2: [-2.5, 2.5], num: 11}}
sampler: grid
seeds: 3
"""
OTHER = SPEC.replace("{width: [64, 128, 256, 512]}", "{form: [a, b]}")


class Outline(HTMLParser):
    """Text by headings, and every address that a browser would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href") and value and tag != "use"]

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "h3", "strong") and data.strip():
            self.headings.append(data.strip())


def trials(make_study, drift=0.0, **rest):
    frame = make_study(np.random.default_rng(0), drift, seeds=3).frame()
    names = frame["cell"] + "/" + frame["configuration"].astype(str) + "/" + frame["replicate"].astype(str)
    return frame.assign(trial=names, error="").assign(**rest)


def render(frame, text=SPEC, provenance=None):
    return report.render(frame, parse(text), text, provenance)


def test_the_verdict_comes_first_in_words(make_study):
    html = render(trials(make_study))
    headings = Outline(html).headings
    assert headings[:3] == ["transfer-digits", "Verdict", "The best learning rate transfers along width."]
    assert "132 of 132 trials have ended" in html and "Provisional" not in html
    assert html.count("<svg") == 2 and "Optima" in headings and "Best configuration of each cell" in headings
    drifting = render(trials(make_study, -0.5))
    assert "The best learning rate drifts along width." in drifting
    assert "The optimum at width 64, used at 512, diverges." in drifting


def test_arrow_frames_give_the_same_page(make_study):
    frame = trials(make_study)
    assert render(frame.convert_dtypes(dtype_backend="pyarrow")) == render(frame)


def test_the_page_fetches_nothing_and_runs_nothing(make_study):
    html = render(trials(make_study))
    assert all(address.startswith("#") for address in Outline(html).fetched)
    assert "<script" not in html and "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "@media print" in html and "max-width" in html


def test_everything_is_escaped(make_study):
    frame = trials(make_study, error="Traceback\nValueError: <b>bad</b> & worse")
    frame.loc[0, ["state", "cause", "value"]] = ["FAIL", "user_error", np.nan]
    html = render(frame, provenance={"command": ["<i>"], "diff": "a\n<u>b</u>"})
    assert "<b>bad</b>" not in html and "ValueError: &lt;b&gt;bad&lt;/b&gt; &amp; worse" in html
    assert "# &lt;final&gt; &amp; fair" in html and "<i>" not in html and "<u>" not in html


def test_a_running_sweep_is_provisional(make_study):
    html = render(trials(make_study).iloc[:70])
    assert "70 of 132 trials have ended" in html and "Provisional: 62 trials have not ended" in html


@pytest.mark.parametrize("text", [SPEC, OTHER])
def test_no_results_at_all(make_study, text):
    empty = trials(make_study).iloc[:0]
    assert "No configuration has a result yet." in render(empty, text)
    failed = trials(make_study, state="FAIL", cause="diverged", value=np.nan)
    html = render(failed, text)
    assert "No configuration has a result." in html and "132 diverged" in html and "What was left out, and why" in html


def test_a_sweep_without_a_study_shows_its_configurations(make_study):
    frame = trials(make_study)
    frame = frame[frame["param.width"] < 200].drop(columns="param.width")
    frame["param.form"] = frame["cell"].map({"w0": "a", "w1": "b"})
    html = render(frame, OTHER)
    headings = Outline(html).headings
    assert headings[:2] == ["transfer-digits", "Result"] and "Configurations" in headings
    assert "The best final training loss is" in html and html.count("<svg") == 1


def test_censored_optima_are_never_numbers(make_study):
    frame = trials(make_study)
    html = render(frame[frame["param.lr"] < 0.4])
    assert "censored: at or above" in html and "undecided whether" in html.lower()


def test_provenance_is_listed(make_study):
    record = {
        "created": "2030-01-01",
        "code": {"commit": "abc", "diff": None},
        "packages": {f"package{k}": "1.0" for k in range(20)},
        "machine": {"cores": 2, "gpus": []},
    }
    facts, details = report.flatten(record)
    assert facts == [("created", "2030-01-01"), ("code.commit", "abc"), ("machine.cores", "2")]
    assert details[0][0] == "packages (20)" and "package3 1.0" in details[0][1]
    assert "package3 1.0" in render(trials(make_study), provenance=record)


def test_a_sweep_folder_becomes_a_page(make_study, tmp_path, monkeypatch):
    frame = trials(make_study)
    monkeypatch.setattr(report, "load_trials", lambda place: frame)
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "provenance.json").write_text(json.dumps({"python": "3.11"}), encoding="utf-8")
    path = report.write(tmp_path)
    assert path == tmp_path / "report.html" and "3.11" in path.read_text(encoding="utf-8")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["provenance.json", "report.html", "spec.yaml"]


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(SwatheError, match="no such folder"):
        report.write(tmp_path / "absent")
    with pytest.raises(SwatheError, match=r"no spec\.yaml"):
        report.write(tmp_path)

"""The report in a real browser: it runs without complaint, and no page scrolls sideways on a phone."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from swathe.analysis import report
from swathe.orchestrator.spec import parse
from tests.analysis.conftest import study_spec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SPEC = study_spec()
MEASURE = "<script>document.title = 'wide ' + document.documentElement.scrollWidth + ' of ' + innerWidth</script>"


def browse(path, profile, *options):
    common = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    common += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    command = [CHROMIUM, *common, f"--user-data-dir={profile}", *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_it_on_a_screen_a_phone_and_paper(make_study, tmp_path):
    frame = make_study(np.random.default_rng(0), -0.5, seeds=3).frame()
    frame = frame.assign(trial=frame["cell"], error="ValueError: " + "x" * 200)
    html = report.render(frame, parse(SPEC), SPEC, {"command": ["swathe", "run", "a" * 150]})
    page = tmp_path / "report.html"
    page.write_text(html.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    for width in (1280, 400):
        shown = browse(page, tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
        wide, window = map(int, re.findall(r"wide (\d+) of (\d+)", shown)[0])
        assert wide <= window and abs(window - width) <= 120, shown[:200]
    browse(page, tmp_path / "profile", f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")

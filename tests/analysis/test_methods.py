"""The passage to paste: the design's numbers, the estimators that were used, and every citation in the list."""

import re

import numpy as np
import pytest

from swathe.analysis.citations import SOURCES
from swathe.analysis.pages import page
from swathe.orchestrator.spec import parse
from tests.analysis.conftest import study_spec

SPEC = study_spec()
CITED = re.compile(r"[A-Z][a-z]+(?: and [A-Z][a-z]+| et al\.)?, (?:19|20)\d\d")


def passage(frame, text):
    found = page(frame.assign(trial="t", error=""), parse(text)).methods
    told = " ".join(found.paragraphs)
    assert {SOURCES[name] for name in CITED.findall(told)} == set(found.references)
    return told


@pytest.fixture
def trials(make_study):
    return make_study(np.random.default_rng(0), 0.0, seeds=3).frame()


def test_a_transfer_study_tells_its_design_and_its_estimators(trials):
    told = passage(trials, SPEC)
    diverged = int((trials["cause"] == "diverged").sum())
    for part in (
        "width (64, 128, 256 and 512), 4 cells in all",
        "11 configurations of learning rate (11 values, evenly spaced in log2 from 2^-2.5 to 2^2.5)",
        "with 3 seeds",
        "132 trials in all",
        f"Of 132 trials {diverged} diverged and count as infinitely bad",
        "centre of the basin",
        "delete-one-seed jackknife",
        "\N{PLUS-MINUS SIGN}0.15 octaves per doubling",
        "(Schuirmann, 1987)",
        "(Agarwal et al., 2021)",
    ):
        assert part in told, part
    assert "Pocock" not in told and "PED-ANOVA" not in told and "ended early" not in told


def test_looks_samplers_and_pruners_are_named_where_they_were_used(trials):
    looked = SPEC.replace("seeds: 3", "seeds: 5") + "study: transfer\nstop: decided\n"
    told = passage(trials, looked)
    assert "after 3, 4 and 5 seeds" in told and "(Pocock, 1977)" in told
    searched = SPEC.replace("sampler: grid", "sampler: tpe\nconfigurations: 24").replace(
        "{log2: [-2.5, 2.5], num: 11}", "{low: 0.1, high: 8.0, log: true}"
    )
    told = passage(trials, searched + "pruner: {name: median, min_step: 5}\n")
    assert "tree-structured Parzen estimator" in told and "log-uniform from 0.1 to 8" in told
    assert "the median stopping rule (Golovin et al., 2017; Akiba et al., 2019) from step 5 on" in told


def test_a_sweep_without_results_has_no_methods(trials):
    assert page(trials.iloc[:0].assign(trial="", error=""), parse(SPEC)).methods.paragraphs == ()

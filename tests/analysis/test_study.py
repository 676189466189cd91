import numpy as np
import pandas as pd
import pytest

from swathe.analysis.study import TransferStudy, infer_study
from swathe.orchestrator.spec import parse

SPEC = (
    "name: t\ntask: train.py:train\nmetric: loss\nsampler: random\nconfigurations: 8\ngrid: {grid}\nsearch: {search}\n"
)
LR = "{lr: {low: 0.001, high: 1.0, log: true}}"


def of(grid, search=LR):
    return infer_study(parse(SPEC.replace("{grid}", grid).replace("{search}", search)))


@pytest.mark.parametrize(
    ("grid", "search", "study"),
    [
        ("{form: [sp, mup], width: [1, 2, 4]}", LR, TransferStudy("width", "lr", ("form",))),
        ("{seq: [1, 2, 4]}", LR, TransferStudy("seq", "lr", ())),
        ("{steps: [10, 20, 40], width: [1, 2, 4]}", LR, TransferStudy("width", "lr", ("steps",))),
        ("{a: [1, 2, 4], b: [1, 2, 4]}", LR, None),
        ("{width: [1, 2]}", LR, None),
        ("{form: [a, b, c]}", LR, None),
        ("{width: [0, 1, 2]}", LR, None),
        ("{width: [1, 2, 4]}", "{lr: {low: 0.1, high: 1.0}}", None),
        ("{width: [1, 2, 4]}", "{scale: {log2: [-3, 3], num: 7}}", TransferStudy("width", "scale", ())),
        ("{width: [1, 2, 4]}", "{lr: {low: 1e-3, high: 1.0, log: true}, wd: {low: 1e-6, high: 1.0, log: true}}",
         TransferStudy("width", "lr", ())),
        ("{width: [1, 2, 4]}", "{a: {low: 1e-3, high: 1.0, log: true}, b: {low: 1e-6, high: 1.0, log: true}}", None),
    ],
)  # fmt: skip
def test_a_study_is_read_off_a_spec(grid, search, study):
    assert of(grid, search) == study


def test_a_study_is_read_off_a_frame(make_study):
    frame = make_study(np.random.default_rng(0), 0.0).frame()
    assert infer_study(frame) == TransferStudy("width", "lr", ())
    both = pd.concat([frame.assign(**{"param.form": form, "cell": frame["cell"] + form}) for form in ("a", "b")])
    assert infer_study(both) == TransferStudy("width", "lr", ("form",))
    assert infer_study(frame[frame["param.width"] < 200]) is None
    assert infer_study(frame.iloc[:0]) is None

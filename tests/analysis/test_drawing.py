"""Figures whose words are others': none of them is a formula, and none is too long or too odd to be drawn."""

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from swathe.analysis.drawing import MOST_LETTERS, bounded, drawn, legend_label
from swathe.analysis.figures import file_names

ODD = [
    r"$\frac{", "$a_b^c$", r"cost \$ and $", "^_^", "_hidden", "x" * 5000, "é 日本 \u202e", "a\nb" * 40,
    "\x1b[31mred\x00", "\ud800", "%d {} \\", "",
]  # fmt: skip


def strange(word: str) -> Figure:
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    axes.plot([1, 10, 1e6], [1, 2, 3], label=legend_label(word) or "-")
    axes.set_xscale("log")
    axes.set_yticks([1, 2, 3], [word] * 3)
    axes.set(ylabel=word, title=word)
    axes.annotate(word, (1, 1))
    axes.legend(title=word)
    figure.supxlabel(word, wrap=True)
    return figure


@pytest.mark.parametrize("word", ODD)
def test_any_word_can_be_drawn_in_every_format(word):
    figure = strange(word)
    ElementTree.fromstring(drawn(figure, "svg", {}))
    assert drawn(figure, "pdf", {}).startswith(b"%PDF") and drawn(figure, "png", {}).startswith(b"\x89PNG")


def test_dollars_are_dollars_and_powers_of_ten_stay_formulas():
    figure = strange("$a_b$")
    drawn(figure, "svg", {})
    axes = figure.axes[0]
    texts = [axes.title, axes.yaxis.label, *axes.get_yticklabels(), *axes.get_legend().get_texts()]
    assert all(each.get_text() == "$a_b$" and not each.get_parse_math() for each in texts)
    powers = [each for each in axes.get_xticklabels() if each.get_text()]
    assert powers and all(each.get_parse_math() and each.get_text().startswith("$") for each in powers)


def test_long_texts_are_cut_with_a_mark():
    figure = strange("x" * 5000)
    drawn(figure, "svg", {})
    lengths = {len(each.get_text()) for each in figure.findobj(Text)}
    assert max(lengths) == MOST_LETTERS and bounded("x" * 5000).endswith("…")
    assert bounded("loss") == "loss"


def test_a_legend_shows_names_that_begin_with_an_underscore():
    figure = strange("_width")
    assert [each.get_text().strip() for each in figure.axes[0].get_legend().get_texts()] == ["_width"]


def test_a_title_of_any_length_gives_a_file_name():
    assert len(file_names(["x" * 5000])[0]) <= 100 and len({*file_names(["y" * 300, "y" * 400])}) == 2

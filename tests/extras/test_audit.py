"""The audit: seven entries, every line of arithmetic worked out again, every input a number of the paper."""

from __future__ import annotations

import ast
import operator
import re

import pytest

from fico_utils.extras.audit import COLUMNS, find_contradictions
from fico_utils.results.paper_reference import read_paper

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
FILES = (
    "figure3_precision_recall", "table1_systems", "table2_instance_recall", "table4_category_map",
    "table5_encoding_time", "table5_storage", "table7_faiss",
)  # fmt: skip


def work_out(node: ast.AST) -> float:
    """Value of an arithmetic expression."""
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](work_out(node.left), work_out(node.right))
    return float(ast.literal_eval(node))


@pytest.fixture(scope="module")
def entries():
    return find_contradictions().set_index("id")


def lines(entries):
    return [(name, line) for name, text in entries["arithmetic"].items() for line in text.splitlines()]


def test_seven_entries_with_every_part(entries):
    assert len(entries) == 7
    assert tuple(find_contradictions().columns) == COLUMNS
    assert entries.map(len).min().min() > 10


def test_the_arithmetic_is_right(entries):
    shown = lines(entries)
    assert len(shown) >= 20
    for name, line in shown:
        expression, result = line.split(" = ")
        digits = len(result.partition(".")[2])
        value = work_out(ast.parse(expression, mode="eval").body)
        assert abs(value - float(result)) <= 0.51 * 10**-digits + 0.051 * (name == "ucch-map"), line


def test_every_input_is_printed_in_the_paper(entries):
    printed = {
        f"{float(t):g}" for f in FILES for c in read_paper(f) for t in read_paper(f)[c] if re.fullmatch(r"[\d.]+", t)
    }
    printed |= {
        n for c in ("image_features", "text_features") for t in read_paper("table1_systems")[c] for n in t.split("x")
    }
    results = {line.split(" = ")[1].lstrip("-") for _, line in lines(entries)}
    # counts of items and points, bytes of a type, bits and dimensions, and the two readings of a misprint
    stated = {"1000000", "5000000", "6000000", f"{2**30}", "4", "8", "64", "256", "2048", "100", "11", "16", "20",
              "68.5", "5.04", "88.7", "32.9", "33.0", "33.1", "33.2"}  # fmt: skip
    for name, line in lines(entries):
        for number in re.findall(r"\d+(?:\.\d+)?", line.split(" = ")[0]):
            known = number in printed or f"{float(number):g}" in printed or number in stated
            assert known or f"{float(number):g}" in results or number in results or _percent(number, results), (
                name,
                number,
            )


def _percent(number: str, results: set[str]) -> bool:
    return any(abs(100 * float(r) - float(number)) < 0.06 for r in results if "." in r)


def test_known_numbers(entries):
    assert "94.1 - 89.3 = 4.8" in entries.loc["ucch-map", "arithmetic"]
    assert "(58.6 - 37.9) / (79.4 - 37.9) = 0.50" in entries.loc["vsrn-recall", "arithmetic"]
    assert "47.35 / 50.4 = 0.94" in entries.loc["imram-encoding", "arithmetic"]
    assert "68.9 - 60.6 = 8.3" in entries.loc["ivf-recall", "arithmetic"]
    assert re.search(r"2048 \* 6000000 / \d+ = 11\.44", entries.loc["code-bytes", "arithmetic"])
    assert re.search(r"64 / 8 \* 6000000 / \d+ = 0\.045", entries.loc["code-bytes", "arithmetic"])
    found = re.findall(r" = ([\d.]+)", entries.loc["feature-bytes", "arithmetic"])
    assert found == ["4123.2", "1125.3", "2944.9", "2944.9"]
    assert "88.7 % on Flickr30K" in entries.loc["chance-level", "observation"]
    means = re.findall(r" = ([\d.]+)", entries.loc["chance-level", "arithmetic"])
    assert (means[0], means[2]) == ("92.9", "56.0")


def test_the_tone_is_careful(entries):
    text = " ".join(entries["reading"]).lower()
    assert not re.search(r"\b(wrong|false|error|mistake|careless|blunder|fake)\b", text)
    assert text.count("probably") + text.count("would") + text.count("not known") >= 5

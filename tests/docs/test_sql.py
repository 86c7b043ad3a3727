"""docs/sql.md tells the truth: each query gives the table below it, on the demo as ``vacpanel demo`` builds it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


@dataclass(frozen=True)
class Question:
    """One section of the page."""

    title: str
    before: list[tuple[str, str]]
    """What to run first: language and text of each block."""
    query: str
    header: list[str]
    rows: list[list[str]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _questions() -> list[Question]:
    found = []
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        before, (language, query) = blocks[:-1], blocks[-1]
        assert language == "sql", section
        below = section.rpartition("```")[2]
        header, rule, *rows = [_cells(line) for line in below.splitlines() if line.startswith("|")]
        assert set("".join(rule)) == {"-"}
        found.append(Question(section.splitlines()[0], before, query, header, rows))
    return found


QUESTIONS = _questions()


@pytest.fixture(scope="module")
def visitor(reader):
    """Somebody who typed ``make demo``: the whole demo, 25 images a class."""
    reader.run("vacpanel demo --no-serve --warehouse demo-warehouse")
    return reader


def _ask(folder: Path, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with duckdb.connect(str(folder / "demo-warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        answer = connection.execute(query)
        return [column[0] for column in answer.description], answer.fetchall()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _markdown(header: list[str], rows: list[tuple[Any, ...]]) -> str:
    """What belongs on the page; printed when a test fails."""
    lines = [header, ["---"] * len(header), *([_shown(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _decimals(cells: list[str]) -> int:
    return max(len(cell.partition(".")[2]) for cell in cells)


def test_the_page_asks_fifteen_questions_in_order():
    assert [question.title.partition(".")[0] for question in QUESTIONS] == [str(n) for n in range(1, 16)]


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one builds the demo: a minute on two idle cores
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.title)
def test_the_answer_is_the_one_on_the_page(visitor, question):
    visitor.follow(question.before)
    header, rows = _ask(visitor.folder, question.query)
    found = _markdown(header, rows)
    assert header == question.header, found
    assert len(rows) == len(question.rows), found
    for column, printed in enumerate(map(list, zip(*question.rows, strict=True))):
        values = [row[column] for row in rows]
        if any(isinstance(value, float) for value in values):
            # A machine that adds up in another order may round the last printed digit the other way.
            step = 10.0 ** -_decimals(printed)
            assert values == pytest.approx([float(cell) for cell in printed], rel=0, abs=1.01 * step), found
        else:
            assert [_shown(value) for value in values] == printed, found

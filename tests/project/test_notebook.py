"""The notebook of the lecture runs from top to bottom and gives what is stored in it, which readers see on the web.

python tests/project/test_notebook.py      # runs it and stores what it gives; look at what changed
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "backprop_lecture.ipynb"
TIMEOUT = 120  # seconds for one cell, on a slow machine
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TEXTS = ("text/plain", "text/html", "text/latex")


def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def executed() -> Any:
    """The notebook with fresh outputs, run by this Python in the folder it lies in."""
    notebook = stored()
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    options = {"timeout": TIMEOUT, "resources": resources, "record_timing": False, "coalesce_streams": True}
    nbclient.NotebookClient(notebook, **options).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version
    return notebook


def texts(cell: Any) -> list[str]:
    """What a cell said: no pictures, whose bytes depend on the versions of Graphviz and Matplotlib, and no pages in frames."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", "")})
        found += [data[kind] for kind in TEXTS if kind in data]
    return [text for text in found if not text.startswith("<iframe")]


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def numbers(text: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text)]


def in_order(text: str) -> str:
    """Lines sorted: rows of a table that are equally bad stand in an order that rounding decides."""
    return "\n".join(sorted(text.splitlines(), key=lambda line: (words(line), numbers(line))))


def test_it_runs_and_gives_what_is_stored() -> None:
    before, after = stored(), executed()
    for old, new in zip(before.cells, after.cells, strict=True):
        assert [output.output_type for output in new.get("outputs", [])] == [
            output.output_type for output in old.get("outputs", [])
        ], new.id
        for was, now in zip(texts(old), texts(new), strict=True):
            was, now = in_order(was), in_order(now)
            assert words(now) == words(was), new.id
            # error estimates, far below the second bound, are made of rounding and differ between machines
            assert numbers(now) == pytest.approx(numbers(was), rel=2e-3, abs=1e-6), new.id


def test_what_is_stored_can_be_read_anywhere() -> None:
    notebook = stored()
    nbformat.validate(notebook)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not re.search(r"0x[0-9a-f]{6,}|/home/|/tmp/|/root/", text)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(
        range(1, 1 + sum(cell.cell_type == "code" for cell in notebook.cells))
    )
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]


def test_answers_are_folded_away() -> None:
    for cell in stored().cells:
        if cell.id.startswith("answer"):
            assert cell.source.startswith("<details>")
        if "answer" in cell.metadata.get("tags", []):
            assert cell.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)

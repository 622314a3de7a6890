"""Every example in a docstring and in README runs, and every public function has one or says what it means."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import chainrule as cr

ROOT = Path(__file__).parents[2]
PACKAGES = (cr, cr.autograd, cr.nn, cr.visualize)
NAMES = [
    name
    for package in PACKAGES
    for _, name, _ in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not name.endswith("__main__")  # runs the command line
]
MODULES = [*PACKAGES, *(importlib.import_module(name) for name in NAMES)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_run(module: ModuleType) -> None:
    assert doctest.testmod(module, globs={}).failed == 0


def test_there_are_modules_with_examples() -> None:
    assert len(MODULES) > 80
    assert sum(doctest.testmod(module, globs={}).attempted for module in MODULES) > 100


@pytest.mark.parametrize("name", [n for n in dir(cr) if not n.startswith("_")])
def test_every_public_name_says_what_it_means(name: str) -> None:
    assert inspect.getdoc(getattr(cr, name)), f"cr.{name} has no docstring"


def test_every_module_says_its_idea() -> None:
    assert [module.__name__ for module in MODULES if not (module.__doc__ or "").strip()] == []


def blocks(page: str = "README.md") -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("block", [*blocks(), *blocks("docs/compile.md")])
def test_the_code_in_readme_and_docs_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ">>>" in block:
        runner = doctest.DocTestRunner()
        runner.run(doctest.DocTestParser().get_doctest(block, {}, "README", "README.md", 0))
        assert runner.summarize(verbose=False).failed == 0
    else:
        exec(compile(block, "README.md", "exec"), {})


def test_readme_has_code() -> None:
    assert blocks()


def first_example(folder: Path) -> None:
    """Run README's first example, which writes a picture and a page."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(blocks()[0], "README.md", "exec"), {})


def test_the_page_that_readme_links_is_what_its_example_writes(tmp_path: Path) -> None:
    first_example(tmp_path)
    assert (tmp_path / "backprop.html").read_bytes() == (ROOT / "docs" / "backprop.html").read_bytes()


if __name__ == "__main__":
    first_example(ROOT / "docs")

"""What is public: each file says it once, in `__all__`, and the façades repeat it name by name, for type checkers.

python tests/project/test_facades.py       # writes the façades; look at what changed
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACADES = {  # a façade, and the folder whose files it repeats
    "autograd": "autograd",
    "facade": "autograd",
    "nn": "nn",
    "nn/optim": "nn/optim",
    "visualize": "visualize",
}
MARK = "# Written by tests/project/test_facades.py: what is in `__all__` of each file.\n# isort: split\n"


def public(path: Path) -> list[str]:
    """The names in a file's `__all__`. It is read, not imported: what is missing may be what imports need."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(statement.value)]
    return []


def lines_of(facade: str) -> list[str]:
    """The lines that a façade should have."""
    folder = ROOT / FACADES[facade]
    lines = []
    for path in sorted(folder.rglob("*.py")):
        module = f".{'.'.join(path.relative_to(folder).with_suffix('').parts)}"
        source = module if FACADES[facade] == facade else f"chainrule.{FACADES[facade]}"
        lines += [f"from {source} import {name} as {name}" for name in public(path)]
    return lines


def parts_of(facade: str) -> tuple[str, list[str], str]:
    """What is written by hand above, the lines, and what is written by hand below."""
    text = (ROOT / facade / "__init__.py").read_text(encoding="utf-8")
    above, _, rest = text.rstrip("\n").partition(MARK)
    lines, gap, below = rest.partition("\n\n")
    return above, lines.split("\n"), gap + below


def write() -> None:
    for facade in FACADES:
        above, _, below = parts_of(facade)
        path = ROOT / facade / "__init__.py"
        path.write_text(above + MARK + "\n".join(lines_of(facade)) + below + "\n", encoding="utf-8")
        sort = [sys.executable, "-m", "ruff", "check", "--quiet", "--select", "I", "--fix", str(path)]
        subprocess.run(sort, check=True)


@pytest.mark.parametrize("facade", FACADES)
def test_a_facade_repeats_what_its_files_say(facade: str) -> None:
    _, found, _ = parts_of(facade)
    missing, unknown = Counter(lines_of(facade)) - Counter(found), Counter(found) - Counter(lines_of(facade))
    changes = "\n".join([*(f"+ {line}" for line in missing), *(f"- {line}" for line in unknown)])
    assert not changes, (
        f"run `python tests/project/test_facades.py`, which writes into {facade}/__init__.py:\n{changes}"
    )


FILES = sorted(path for package in ("autograd", "nn", "visualize") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in FILES if public(path)], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_shows_users_how_to_call_it_is_public(path: Path) -> None:
    for definition in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(definition, ast.FunctionDef | ast.ClassDef):
            name, example = definition.name, ast.get_docstring(definition) or ""
            shown = re.search(rf">>>.*\bcr\.(nn\.|visualize\.)?{name}\(", example)
            where = f"__all__ of {path.relative_to(ROOT)}, and run tests/project/test_facades.py"
            assert name in public(path) or not shown, f"cr.{name} is not public: put {name!r} into {where}"


@pytest.mark.parametrize("facade", FACADES)
def test_no_two_files_give_one_name(facade: str) -> None:
    names = Counter(line.split()[-1] for line in lines_of(facade))
    assert [name for name, count in names.items() if count > 1] == []


if __name__ == "__main__":
    write()

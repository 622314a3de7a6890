"""Every file is in its room: how many there are at a glance, which way imports run, what a name hides, what is loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType

import pytest
from scripts import printed_by

import chainrule as cr

PACKAGES = {"autograd": cr.autograd, "nn": cr.nn, "visualize": cr.visualize}
FOLDERS = {"chainrule": Path(cr.__path__[0]), **{p.__name__: Path(p.__path__[0]) for p in PACKAGES.values()}}

# What a room may import from, of its own package; "" is what lies in the package itself. A room may always import itself.
LADDERS: dict[str, dict[str, set[str]]] = {
    "chainrule.autograd": {
        "": {"guards", "ops"},
        "guards": {""},
        "ops": {"", "guards"},
        "optional": {""},
        "checking": {"", "guards", "ops", "optional"},
        "compiling": {"", "guards", "ops"},
        "explaining": {"", "guards", "ops", "optional"},
    },
    "chainrule.nn": {
        "": set(),
        "optim": {""},
        "storage": {""},
        "training": {"", "optim", "storage"},
    },
    "chainrule.visualize": {
        "": set(),
        "folding": set(),
        "describing": {"folding"},
        "drawing": {"describing", "folding"},
        "plotting": {"describing", "folding"},
        "stepping": {"drawing", "describing", "folding"},
        "serving": {"drawing", "describing", "folding"},
    },
}
ABOVE = {  # which packages may import which others
    "chainrule.autograd": set[str](),
    "chainrule.nn": {"chainrule.autograd"},
    "chainrule.visualize": {"chainrule.autograd"},
    "chainrule": {"chainrule", *LADDERS},
}


def modules() -> dict[str, Path]:
    """Every file by the name that it is imported under; an `__init__` by that of its package."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def is_type_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(name: str) -> Iterator[str]:
    """The modules of chainrule that a file imports when it runs, at its top or later."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if is_type_only(node):
            assert isinstance(node, ast.If)
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in MODULES or source in MODULES:
                    yield whole if whole in MODULES else source


def package_of(name: str) -> str:
    return next(p for p in (*LADDERS, "chainrule") if name == p or name.startswith(f"{p}."))


def room_of(name: str) -> str:
    """The folder in the package, or "" for what lies in the package itself."""
    inside = name.removeprefix(package_of(name)).strip(".").split(".")
    return inside[0] if len(inside) > 1 or MODULES[name].name == "__init__.py" else ""


def is_face(name: str) -> bool:
    """Whether this is the `__init__` that lists what a package gives: it stands above all its rooms."""
    return name in FOLDERS


@pytest.mark.parametrize(("name", "most"), [("autograd", 18), ("nn", 12), ("visualize", 6)])
def test_a_package_is_taken_in_at_a_glance(name: str, most: int) -> None:
    folder = FOLDERS[f"chainrule.{name}"]
    entries = [path.name for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()]
    shown = sorted(entry for entry in entries if not entry.startswith("__"))
    assert len(shown) <= most, shown


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name: str) -> None:
    package = package_of(name)
    for imported in imports(name):
        other = package_of(imported)
        if other != package:
            assert other in ABOVE[package], f"{name} imports {imported}"
        elif package in LADDERS and not is_face(name):
            here, there = room_of(name), room_of(imported)
            assert here == there or there in LADDERS[package][here], f"{name} imports {imported}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Take away, again and again, who imports none of those that are left."""
    left = {name: set(imports(name)) - {name} for name in MODULES if not is_face(name)}
    while done := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in done:
            del left[name]
    assert left == {}


@pytest.mark.parametrize("package", [cr, *PACKAGES.values()], ids=lambda package: package.__name__)
def test_no_function_hides_a_module_of_its_name(package: ModuleType) -> None:
    below = {name.removeprefix(f"{package.__name__}.") for name in MODULES if name.startswith(f"{package.__name__}.")}
    below = {name for name in below if "." not in name and name != "__main__"}
    hidden = [name for name in below & set(dir(package)) if not isinstance(getattr(package, name), ModuleType)]
    assert hidden == []


def test_a_room_says_its_idea_and_gives_nothing() -> None:
    public = {*FOLDERS, "chainrule.nn.optim"}
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name not in public:
            [statement] = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(statement, ast.Expr), name
            assert isinstance(statement.value, ast.Constant), name
            assert isinstance(statement.value.value, str), name


def test_what_people_type_is_there() -> None:
    assert cr.nn.optim.SGD is cr.nn.SGD
    assert cr.nn.optim.CosineAnnealingLR is cr.nn.CosineAnnealingLR
    assert callable(cr.nn.init.he_normal)
    assert {"nn", "visualize", "unused", "grad"} <= set(dir(cr)) & set(cr.__all__)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="module 'chainrule' has no attribute 'gard'"):
        cr.gard  # type: ignore[attr-defined]  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """What is loaded in a fresh process after some code has run."""
    return set(printed_by(f"{code}\nimport sys; print(*sys.modules)").decode().split())


def test_importing_chainrule_loads_little() -> None:
    heavy = {"ssl", "http", "logging", "graphviz", "tqdm", "matplotlib"}
    assert loaded_by("import chainrule") & heavy == set()
    assert loaded_by("import chainrule; chainrule.visualize, chainrule.nn") & (heavy - {"logging"}) == set()


def test_nothing_is_missing_whichever_part_is_imported_first() -> None:
    for name in sorted(MODULES):
        if name.count(".") == 1 and not name.endswith("__main__"):
            assert name in loaded_by(f"import {name}")


def test_the_wheel_gets_every_package() -> None:
    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    listed = config["options"]["packages"].split()
    assert listed == sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


# Whoever asks a node for `.data` or `.grad` is seen by whoever records a function. These go past that door: the engine, what looks at
# graphs that exist, and what updates variables, which is seen as a change.
PAST_THE_DOOR = {
    "chainrule.autograd": {
        "", "guards", "checking", "compiling", "explaining", "ops.shape",
    },
    "chainrule.nn": {
        "optim", "training.demands", "training.flow", "training.compiled", "training.history", "training.progress", "training.step",
    },
    "chainrule.visualize": {"describing", "folding", "plotting", "serving", "stepping"},
}  # fmt: skip


def test_only_these_read_what_a_variable_holds_unseen() -> None:
    found: dict[str, set[str]] = {package: set() for package in PAST_THE_DOOR}
    for name, path in MODULES.items():
        names = {x.attr for x in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(x, ast.Attribute)}
        package = next((p for p in PAST_THE_DOOR if name.startswith(p + ".")), None)
        if package is None or names.isdisjoint({"_raw", "_grad"}):
            assert names.isdisjoint({"_raw", "_grad"}), name
            continue
        inside = name.removeprefix(package + ".")
        room = inside.rpartition(".")[0]
        found[package].add(room if room in PAST_THE_DOOR[package] else inside)
    assert found == PAST_THE_DOOR

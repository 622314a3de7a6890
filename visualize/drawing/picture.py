"""From DOT text to a picture: which program draws it, and how a file is written.

A picture is written whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from chainrule.autograd.optional.whole import naming, write_whole

TIMEOUT = 120  # seconds for the layout of one picture
PROGRAMS = {"dot": ("svg", "png", "pdf"), "graphviz-pure": ("svg", "png")}  # in order of preference


def picture(text: str, form: str) -> bytes:
    """Have the layout made and drawn. Raises `RuntimeError` where that is impossible."""
    program = renderer(form)
    command = [program, f"-T{form}", *(["-Gdpi=192"] if form == "png" else [])]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{program} took more than {TIMEOUT} seconds; draw a smaller part.") from error
    except OSError as error:
        raise RuntimeError(f"{program} could not be run: {error}.") from error
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip() or "nothing"
        raise RuntimeError(f"{program} failed with exit status {done.returncode} and said: {said[-500:]}.")
    return done.stdout


def renderer(form: str) -> str:
    """The program that makes pictures of this format: on PATH, or among the scripts of this Python."""
    own = [str(Path(sys.executable).parent)] if sys.executable else []
    scripts = [*own, sysconfig.get_path("scripts"), *user_scripts()]
    for name, forms in PROGRAMS.items():
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(scripts))
        if found and form in forms:
            return found
    wheel = ", or `pip install graphviz-pure`" if form in PROGRAMS["graphviz-pure"] else " (graphviz-pure cannot)"
    raise RuntimeError(
        f"no program that makes a {form} was found. Install Graphviz (`apt install graphviz`, `brew install graphviz`, "
        f"`winget install graphviz`){wheel}."
    )


def user_scripts() -> list[str]:
    """Where `pip install --user` puts programs; nowhere on platforms that have no such place, as WebAssembly."""
    try:
        return [sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))]
    except (AttributeError, KeyError, ValueError):
        return []


def destination(what: str, path: str | os.PathLike[str], suffixes: Sequence[str], or_else: str = "") -> Path:
    """Where a file shall be written, looked at before anything is drawn."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{what}: path must be a string or a path, got {path!r} ({type(path).__name__})")
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise ValueError(
            f"{what}: {os.fspath(path)!r} cannot be written: the format comes from the suffix, one of "
            f"{', '.join(suffixes)}{or_else}; got {target.name!r}"
        )
    require_place(what, path)
    return target


def require_place(what: str, path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Raise an error unless a file, or a folder, can be there."""
    given, target = os.fspath(path), Path(path)
    if "\0" in given:
        raise ValueError(f"{what}: {given!r} cannot be written: no path has the character \\0 in it")
    with naming(path):
        if not target.parent.is_dir():
            raise FileNotFoundError(
                f"{what}: {given!r} cannot be written: there is no folder {str(target.parent)!r}; make it first"
            )
        if target.is_dir() and not folder:
            raise IsADirectoryError(f"{what}: {given!r} cannot be written: it is a folder")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise FileExistsError(
                f"{what}: {given!r} cannot be written: it is there, and no file but a pipe or a device"
            )


def write_picture(what: str, path: str | os.PathLike[str], content: bytes) -> None:
    require_place(what, path)
    write_whole(path, lambda file: file.write(content))

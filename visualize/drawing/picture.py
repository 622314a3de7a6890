"""From DOT text to a picture: which program draws it, and how a file is written.

A picture is written whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path

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


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file in one step, so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name[-64:]}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

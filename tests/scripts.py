"""The examples as modules, for the tests that call their functions; and Python in a process of its own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    """An example as a module; its helpers are found beside it, as when it is run."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(name)


def printed_by(code: str, folder: str | Path = ".", seed: str = "0") -> bytes:
    """What a fresh process prints that runs this code in this folder; `seed` decides the order of its sets."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout

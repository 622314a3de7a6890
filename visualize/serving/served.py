"""What the server on this machine shows of a training, and the commands that it takes: all in the threads of browsers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, final

from .drawn import THEMES, Drawn
from .shared import Shared
from .snapshot import state

WAIT = 4.0  # seconds that a browser waits for a new drawing before it asks again

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@final
class Served:
    """Files, a state that changes, a picture on request; and commands. What is made of what is shared is made once for all."""

    def __init__(self, title: str, shared: Shared) -> None:
        self.title, self.shared = title, shared
        self.files = {name.replace("live.html", ""): (KINDS[name.rpartition(".")[2]], text) for name, text in assets()}
        self.sent = (-1, b"")  # a version, and how it was written
        self.painting = threading.Lock()
        self.painted = dict.fromkeys(THEMES, Drawn())  # their text is SVG

    def news(self, seen: int, patience: float) -> tuple[int, bytes]:
        """The number of the newest state, and the state; after `patience` seconds that may be the one that was seen."""
        shared = self.shared
        with shared.changed:
            shared.changed.wait_for(lambda: shared.version != seen or shared.over, patience)
            if self.sent[0] == shared.version:
                return self.sent
            version, snapshot = shared.version, shared.snapshot
            about: dict[str, Any] = {
                "title": self.title, "status": shared.status, "note": shared.note, "over": shared.over
            }  # fmt: skip
        start = time.thread_time()
        sent = version, state(snapshot, about)
        with shared.changed:
            self.sent, shared.telling = sent, time.thread_time() - start
        return sent

    def graph(self, seen: int, theme: str) -> bytes:
        """The picture of the graph, "light" or "dark", once there is one of another step than the one that was seen."""
        shared = self.shared
        with shared.changed:
            if shared.drawings[theme].step in (-1, seen):
                shared.graph_wanted |= set() if shared.finished else {theme}
                shared.changed.wait_for(lambda: shared.drawings[theme].step not in (-1, seen) or shared.finished, WAIT)
            drawn = shared.drawings[theme]
        with self.painting:
            if self.painted[theme].step != drawn.step:
                self.painted[theme] = drawn.painted()
            painted = self.painted[theme]
        svg = painted.text if painted.step != seen else ""
        return json.dumps({"step": painted.step, "svg": svg, "problem": painted.problem, "over": shared.over}).encode()

    def obey(self, command: str) -> bool:
        """Do as told; False for an unknown command."""
        shared = self.shared
        with shared.change():
            if command == "pause":
                shared.allowed = 0
            elif command == "resume":
                shared.allowed = None
            elif command == "step":
                shared.allowed = 0 if shared.allowed is None else 1
            else:
                return False
            shared.note = ""
        return True

    def ended(self) -> bool:
        """Whether there will be no more news."""
        return self.shared.over

    def abandon(self) -> None:
        """In a forked child, of whose threads none is left: what is shown is the parent's."""
        self.shared.abandon()


def assets() -> Iterator[tuple[str, bytes]]:
    folder = files(__package__) / "assets"
    return ((name, (folder / name).read_bytes()) for name in ("live.html", "live.css", "live.js"))

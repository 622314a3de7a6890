"""What the server on this machine asks of the page that it serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Served(ABC):
    """What the server shows: files, a state that changes, a picture on request; and commands that it takes."""

    files: Mapping[str, tuple[str, bytes]]  # the type and the content, by name

    @abstractmethod
    def news(self, seen: int, patience: float) -> tuple[int, bytes]:
        """The number of the newest state, and the state; after `patience` seconds that may be the one that was seen."""

    @abstractmethod
    def graph(self, seen: int, theme: str) -> bytes:
        """The picture of the graph, "light" or "dark", once there is one of another step than the one that was seen."""

    @abstractmethod
    def obey(self, command: str) -> bool:
        """Do as told; False for an unknown command."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether there will be no more news."""

    @abstractmethod
    def abandon(self) -> None:
        """In a forked child, of whose threads none is left: what is shown is the parent's."""

"""What a checkpoint of training holds: whatever decides what comes next, random generators included.

Taken between two epochs, it is where training can go on as if it had never stopped.
"""

from __future__ import annotations

from typing import Any, final

from chainrule.autograd.optional.whole import check_path

from ..module import Module
from ..optim.optimizer import Optimizer
from ..storage.checkpoints import Stateful, load_checkpoint, save_checkpoint
from .arguments import Arguments
from .standing import Standing


@final
class Checkpoint:
    """The file that training can go on from, if there is to be one."""

    def __init__(self, given: Arguments, standing: Standing) -> None:
        self.given, self.standing = given, standing

    def start(self, resume: bool) -> None:
        """Go back to what the file holds, if it is there and that is wanted."""
        path = self.given.checkpoint
        if path is None:
            if resume:
                raise ValueError("fit: resume=True needs checkpoint=, the file to go on from")
            return
        check_path(path, ".npz")
        if path.exists():
            if not resume:
                raise FileExistsError(f"fit: {path} is there already: go on from it with resume=True, or delete it")
            load_checkpoint(path, **self.parts())
        elif not path.parent.is_dir():
            raise FileNotFoundError(f"fit: there is no folder {path.parent} for the checkpoint")

    def save(self) -> None:
        if self.given.checkpoint is not None:
            save_checkpoint(self.given.checkpoint, **self.parts())

    def parts(self) -> dict[str, Any]:
        """Everything that decides what comes next."""
        given = self.given
        others = [schedule for schedule in given.optimizer.schedules if schedule is not given.schedule]
        found = {**self.stateful(), "schedules": others} if others else self.stateful()
        return {
            "model": given.model,
            "generators": given.model.generators(),
            **found,
            "optimizer": given.optimizer,  # after the schedules, each of which sets the rate
            **({"others": self.standing.others} if self.standing.others.parameters else {}),
            "training": self.standing,
        }

    def stateful(self) -> dict[str, Any]:
        """What was given that has a state of its own, also that of which a method was given."""
        given = self.given
        named = ("schedule", "data", "validation", "loss", "penalty", "after_batch")
        asked = {name: getattr(given, name) for name in named}
        asked |= {f"callback {i}": f for i, f in enumerate(given.callbacks)}
        asked |= {f"metric {name}": f for name, f in given.metrics.items()}
        found: dict[str, Any] = {}
        for name, x in asked.items():
            owner = x if isinstance(x, Stateful) else getattr(x, "__self__", None)
            if isinstance(owner, Stateful) and not isinstance(owner, type | Optimizer) and owner is not given.model:
                found[name] = owner
                if isinstance(owner, Module):
                    found[f"{name}, generators"] = owner.generators()
        return found

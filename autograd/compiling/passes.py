"""The two passes of a compiled function, for one of its outputs, as a row of the table has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from ..derivative import ALIAS
from ..graph import NO_PARAMS, Node, cotangents
from ..guards.seals import unchanged, verify
from ..guards.selection import has_nan
from ..guards.underflow import underflowed
from ..plain import FAILURES, Saved
from ..primitive import born
from .program import Program, replay
from .writing import Code


class Pulled(NamedTuple):
    """The pass back from one output."""

    place: int
    earlier: list[int]  # the outputs that it is made from
    pulled: list[Any]  # the cotangents of the inputs and of those
    alone: Program  # of these and their cotangents
    doubtful: bool  # whether NaN among the cotangents may be of what was not chosen
    elementwise: bool


@final
class Passes:
    """The passes of one output."""

    def __init__(self, code: Code, i: int, pulled: Pulled, inputs: int) -> None:
        self.code, self.place, self.backward, self.reads = code, pulled.place, code.backward[i], code.reads[i]
        self.program, self.doubtful, self.inputs = pulled.alone, pulled.doubtful, inputs

    def forward(self, *inputs: Any, saved: Saved) -> Any:
        if len(inputs) > self.inputs:  # what earlier outputs are now
            return replay(self.program, [*inputs, 0.0])[0]
        outputs, arrays = self.code.forward(*inputs)
        if not saved:
            saved["arrays"] = arrays
        return outputs[self.place]

    def pull(self, args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> Sequence[Any]:
        saved, higher = params["saved"], isinstance(y, Node)
        for name, then in (saved.get("constants") or {}).items():
            x = self.code.constants[name]
            if (higher or name in self.reads) and not unchanged(x, then):
                raise RuntimeError(
                    f"an array of shape {x.shape} that a compiled function uses was written into after it ran, so its gradient would be "
                    "wrong. Call backward() first, or use a copy (array.copy())"
                )
        if higher and saved.get("seals"):
            verify(y, saved["seals"])
        if isinstance(y, Node):
            return self.with_care(args, g, True) if self.doubtful else replay(self.program, [*args, g])[1:]
        inputs = [x._raw if isinstance(x, Node) else x for x in args]
        arrays = params["saved"].get("arrays")
        try:
            if arrays is None:  # what earlier outputs are was given
                return replay(self.program, [*inputs, g])[1:]
            found: Sequence[Any] = self.backward(g, *inputs[: self.inputs], *arrays)
        except FAILURES as error:  # numbers that overflow: by IEEE 754, step by step
            if underflowed(error):
                raise  # the walk asks again, and lets them
            found = replay(self.program, [*inputs, g])[1:]
        if self.doubtful and any(has_nan(d) for d in found if d is not None):
            found = self.with_care(args, g, False)
        return found

    def with_care(self, args: Sequence[Any], g: Any, create_graph: bool) -> Sequence[Any]:
        """The cotangents of the operations themselves, on stand-ins for the arguments."""
        inputs = [born(x._raw, ALIAS, (x,), NO_PARAMS) if isinstance(x, Node) else x for x in args]
        y = replay(self.program, [*inputs, g])[0]
        if not isinstance(y, Node):
            return [None for _ in args]
        given = [x for x in inputs if isinstance(x, Node)]
        since = given[0].birth
        found = cotangents(y, g, set(given), create_graph=create_graph, since=since, careful=True)
        return [x.fit(d) if isinstance(x, Node) and (d := found.get(x)) is not None else None for x in inputs]

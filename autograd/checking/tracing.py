"""Where a fault of the whole comes from: the operations that fail by themselves, and what lies between them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from ..context import Watcher
from ..graph import Node, cotangents
from ..guards.blocks import Block, enable_grad
from ..optional.names import name_of, parameter_paths
from ..optional.progress import followed
from ..primitive import Op
from ..source import line_of, record_lines, rule_of
from .numbering import numbered
from .operation import SHAKEN, SLACK, kind_of, pulled, shaken
from .report import BLANK, KINK, NOISY, NOT_FINITE, WRONG, Report, Row
from .rules import checked, together
from .whole import LINES, Whole, gradient, pulled_back

SAMPLE = 8  # elements of an argument that are moved alone
EATEN = 1e-8  # where rounding moves a gradient by less than this share of it, it has not eaten its digits
TOGETHER = 256  # operations on numbers that are checked at a time

ALONE = "every operation is right by itself, and the whole is wrong: look between them, at what no operation records"
CONSTANTS = "The function takes gradients without create_graph=True: these are constants"
ANOTHER_WAY = "Compute what nearly cancels in another way, as with expm1(x) for exp(x) - 1"


def traced(report: Report, f: Callable[[], Any], named: dict[Node, str], seed: int, order: int) -> Report:
    """The report with the operations that the fault comes from, or with what else there is to say."""
    walks: list[tuple[Node, bool]] = []
    fails, kinked = bool(report.wrong or report.by_verdict(NOT_FINITE)), bool(report.by_verdict(KINK))
    with enable_grad():
        with record_lines(), noted_walks(walks):
            y = f()
        whole = Whole(y, seed) if isinstance(y, Node) and y.args else None
        names = labels(whole.nodes, {}) if whole else {}
        rows = [*report.rows, *(by_operation(whole, names, order, seed=seed) if whole and (fails or kinked) else ())]
        culprits = culprits_of(whole, rows, names) if whole else []
        if not fails:
            culprits = [row for row in culprits if row.verdict == WRONG]
            notes = said_of(culprits) or tuple(between(whole, report.rows, named))
            return replace(report, rows=(*report.rows, *culprits), culprits=tuple(culprits), notes=notes)
        again = dict.fromkeys(root for root, create_graph in walks if create_graph)
        culprits = culprits or list(of_what_was_differentiated(again, seed))
        notes = said_of(culprits) or tuple(between(whole, report.rows, named))
        if notes == (ALONE,) and any(root not in again for root, _ in walks):
            notes = (f"{ALONE}. {CONSTANTS}",)
    return replace(report, culprits=tuple(culprits), notes=notes)


def said_of(culprits: Sequence[Row]) -> tuple[str, ...]:
    return tuple([line for row in culprits[:LINES] for line in row.described()])


def culprits_of(whole: Whole, rows: Sequence[Row], names: Mapping[Node, str]) -> list[Row]:
    """The rows that are wrong, and those that made the first NaN or infinity: out of finite numbers."""
    ids = numbered(whole.nodes)
    sound = {ids[id(node)]: node for node in whole.nodes if all(np.all(np.isfinite(x)) for x in node.inputs)}
    alone = [row for row in rows if row.node is not None]
    infinite = any(row.verdict == NOT_FINITE for row in rows)
    found = [row for row in alone if row.verdict == WRONG or (row.verdict == NOT_FINITE and row.node in sound)]
    return found or (list(first_infinite(whole, sound, names)) if infinite else [])


def first_infinite(whole: Whole, sound: dict[int, Node], names: Mapping[Node, str]) -> Iterator[Row]:
    """The operation that makes a NaN or an infinity of the finite cotangent that arrives, which by itself it does not."""
    try:
        found = pulled_back(whole.original, whole.weights)
    except Exception:  # of a rule that gives no answer there is more to say
        return
    for number, node in reversed(sound.items()):
        g = found.get(node)
        if not node.args or g is None or not np.all(np.isfinite(g)):
            continue
        for place, d in pulled(node, g).items():
            if d is not None and not np.all(np.isfinite(d)):
                note = f"made of a finite cotangent, at most {np.max(np.abs(g)):.3g}"
                of, to = names[node.args[place]], float(d[~np.isfinite(d)].reshape(-1)[0])
                row = replace(
                    blank_of(node, number), argument=place, input=of, autograd=to, verdict=NOT_FINITE, note=note
                )
                yield of_rule(row, node)
                return


def of_what_was_differentiated(roots: Iterable[Node], seed: int) -> Iterator[Row]:
    """The rules that are wrong when they are differentiated themselves, in graphs that the function took gradients of."""
    said: set[tuple[Any, ...]] = set()
    for root in roots:
        whole = Whole(root, seed)
        for row in by_operation(whole, labels(whole.nodes, {}), order=2, seed=seed):
            key = row.operation, row.argument, row.line, row.rule
            if row.order == 2 and row.verdict == WRONG and key not in said:
                said.add(key)
                yield replace(row, node=None)  # its number is that of another graph


def between(whole: Whole | None, rows: Sequence[Row], names: Mapping[Node, str]) -> Iterator[str]:
    """What is to be said where every operation is right by itself, and the whole is not."""
    wrong, noisy = ([row for row in rows if row.verdict == verdict] for verdict in (WRONG, NOISY))
    lost = lost_digits(whole, wrong or noisy, names) if whole and (wrong or noisy) else []
    if wrong:
        yield from lost[:LINES] if lost and all(lost) else [ALONE]
    elif any(row.verdict == NOT_FINITE for row in rows):
        given = [name for node, name in names.items() if node.op is None and is_infinite(node)]
        ids = numbered(whole.nodes) if whole else {}
        for node in whole.nodes if whole else ():
            constants = [i for i, arg in enumerate(node.args) if not isinstance(arg, Node) and is_infinite(arg)]
            given += [f"argument {i} of node {ids[id(node)]}, {node.op and node.op.name}" for i in constants]
        yield from [f"not finite as it was given: {', '.join(given[:LINES])}"] if given else []
    yield from filter(None, lost[: 0 if wrong else LINES])


def is_infinite(x: Any) -> bool:
    """Whether a NaN or an infinity is among these."""
    data = np.asarray(x._raw if isinstance(x, Node) else x)
    return data.dtype.kind == "f" and not np.all(np.isfinite(data))


def lost_digits(whole: Whole, rows: Sequence[Row], names: Mapping[Node, str]) -> list[str]:
    """What is left of each gradient that rounding on the way moves as far as it is off; of others nothing is said."""
    leaves = {names[node]: whole.twins[node] for node in whole.leaves if node in names}
    shakes = [pulled_back(shaken([whole.root], whole.rng)[0], whole.weights) for _ in range(SHAKEN)]
    spreads = {
        name: np.max([np.abs(gradient(found, leaf) - gradient(whole.gradients, leaf)) for found in shakes], axis=0)
        for name, leaf in leaves.items()
    }
    said = []
    for row in rows:
        own = [spreads[row.input]] if row.input in spreads else list(spreads.values())
        spread = float(own[0][row.index] if row.index and len(own) == 1 else sum(float(np.sum(x)) for x in own))
        size = max(abs(row.autograd), abs(row.numeric))
        if not abs(row.autograd - row.numeric) <= SLACK * spread + row.error or spread <= EATEN * size:
            said.append("")
            continue
        left = max(0, math.floor(-math.log10(spread / size))) if size else 0
        place = f"{row.input}{list(row.index)}" if row.index else row.input
        said.append(f"rounding has eaten the digits of the gradient by {place}: about {left} are left. {ANOTHER_WAY}")
    return said


@final
class noted_walks(Block):
    """A block in which it is noted from where gradients are taken, and whether they can be differentiated again."""

    def __init__(self, walks: list[tuple[Node, bool]]) -> None:
        super().__init__()
        self.walks = walks

    def token(self) -> Watcher:
        return WalkWatcher(self.walks)


@final
class WalkWatcher(Watcher):
    """What notes the walks of one block; what watches around it, goes on watching."""

    def __init__(self, walks: list[tuple[Node, bool]]) -> None:
        self.walks = walks

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        return op if self.around is None else self.around.made(data, op, args, params)

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        self.walks.append((root, create_graph))
        if self.around is not None:
            return self.around.walk(root, seed, wanted, create_graph, since)
        return cotangents(root, seed, wanted, create_graph=create_graph, since=since, careful=True)


def labels(
    nodes: Sequence[Node], named: Mapping[Node, str], places: Mapping[Node, str] | None = None
) -> dict[Node, str]:
    """What a report calls the nodes: as they are `named`, by their own names or paths, by `places` in a list, by numbers."""
    ids, paths, places = numbered(nodes), parameter_paths(nodes), places or {}
    return {
        node: named.get(node) or name_of(node.name, paths.get(id(node))) or places.get(node) or f"node {ids[id(node)]}"
        for node in nodes
    }


def by_operation(
    whole: Whole,
    names: dict[Node, str],
    order: int = 1,
    sample: int | None = SAMPLE,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = False,
) -> Iterator[Row]:
    """The rows of all operations of a graph, or of so many, each by itself, in the order of computation."""
    ids = numbered(whole.nodes)
    nodes = sampled([node for node in whole.nodes if any(isinstance(arg, Node) for arg in node.args)], limit, seed)
    blanks = {node: blank_of(node, ids[id(node)]) for node in nodes}
    done = all_alike(nodes, blanks, names, seed) if order == 1 else {}
    for i, node in enumerate(followed(nodes, progress, "check", "nodes")):
        rows = done.get(node) or checked(node, whole.gradient(node), blanks[node], names, order, sample, seed + i)
        for row in rows:
            yield of_rule(row, node)


def blank_of(node: Node, number: int) -> Row:
    """A row about the operation that a node is the result of, to be filled in."""
    return replace(BLANK, node=number, operation=node.op.name if node.op else "", line=str(line_of(node) or ""))


def of_rule(row: Row, node: Node) -> Row:
    """The row, with the line where the rule is defined, if it is one of the user's."""
    own = node.op is not None and not node.op.listed
    return replace(row, rule=str(rule_of(node.op, row.argument) or "")) if node.op is not None and own else row


def all_alike(
    nodes: Sequence[Node], blanks: dict[Node, Row], names: dict[Node, str], seed: int
) -> dict[Node, list[Row]]:
    """The rows of what could be checked many at a time, and was right."""
    kinds: dict[Hashable, list[Node]] = {}
    for node in nodes:
        kinds.setdefault(kind_of(node), []).append(node)
    kinds.pop(None, None)
    parts = [same[i : i + TOGETHER] for same in kinds.values() for i in range(0, len(same), TOGETHER)]
    found: dict[Node, list[Row]] = {}
    for part in parts:
        found |= together(part, [blanks[node] for node in part], names, seed)
    return found


def sampled(nodes: list[Node], limit: int | None, seed: int) -> list[Node]:
    """All nodes, or so many at random, in order; as many of every operation, as far as there are so many."""
    if limit is None or len(nodes) <= limit:
        return nodes
    shuffled = np.random.default_rng(seed).permutation(len(nodes)).tolist()
    turns: Counter[Any] = Counter()
    ranked = []
    for i in shuffled:
        op: Any = nodes[i].op
        turns[op.pull] += 1
        ranked.append((turns[op.pull], i))
    return [nodes[i] for i in sorted(i for _, i in sorted(ranked)[:limit])]

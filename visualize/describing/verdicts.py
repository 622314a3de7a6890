"""What a check found, written onto the description of the graph that it checked.

A row about one argument of one operation goes to that edge, and the worst of them to the operation; a row about the
whole goes to the variable that it names.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import final

from chainrule.autograd.checking.report import ACCEPTED, KINK, NOISY, RIGHT, WORST_FIRST, WRONG, Report, Row, file_line

from ..folding.cells import Part
from ..folding.wiring import Wiring
from .description import Diagram, DiagramEdge, DiagramNode, Fold

BETWEEN = " … "  # in a row about several variables: the first and the last of them


def marked(drawn: Diagram, report: Report) -> Diagram:
    """The description with the report's verdicts. Raises `ValueError` where the report is of another graph."""
    if not isinstance(report, Report):
        raise TypeError(
            "visualize: check= takes the Report that cr.check(loss) or cr.gradcheck(…) returns, "
            f"got {type(report).__name__}"
        )
    by_node: dict[int, list[Row]] = defaultdict(list)
    for row in (*report.rows, *report.culprits):
        if row.node is not None:
            by_node[row.node].append(row)
    require_same_graph(drawn, by_node)
    wholes = by_variable(drawn, [row for row in report.rows if row.node is None])
    edges: list[DiagramEdge] = []
    for target, group in groupby(drawn.edges, key=attrgetter("target")):
        edges += [edge_marked(edge, by_node.get(target, [])) for edge in group]
    constants = {node.id for node in drawn.nodes if node.constant}
    return replace(
        drawn,
        nodes=tuple(node_marked(node, by_node.get(node.id) or wholes.get(node.id, [])) for node in drawn.nodes),
        edges=tuple(replace(edge, verdict="", finding="") if edge.source in constants else edge for edge in edges),
    )


def require_same_graph(drawn: Diagram, by_node: Mapping[int, Sequence[Row]]) -> None:
    """Every operation that the report speaks of is there, with as many arguments."""
    operations = {node.id: node.operation for node in drawn.nodes if node.fold is None}
    counts = {target: len(list(group)) for target, group in groupby(drawn.edges, key=attrgetter("target"))}
    for number, rows in by_node.items():
        for row in rows:
            if operations.get(number) != row.operation or (row.argument or 0) >= counts.get(number, 0):
                there = f"is {operations[number] or 'a variable'!r}" if number in operations else "does not exist"
                raise ValueError(
                    f"visualize: the report is of another graph: it speaks of {row.operation} as node {number}, which "
                    f"here {there}. Check and draw the same result: draw(loss, check=cr.check(loss))."
                )


def by_variable(drawn: Diagram, rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The rows about the whole, by the variables that they name; of some that have no name there is nothing to say."""
    variables = [node for node in drawn.nodes if not node.operation and not node.constant]
    places = {f"node {node.id}": place for place, node in enumerate(variables)}
    for place, node in reversed([*enumerate(variables)]):
        if node.name:
            places[node.name] = place  # the first of that name
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        first, _, last = (row.input, "", row.input) if row.input in places else row.input.partition(BETWEEN)
        if first in places and last in places:
            for node in variables[places[first] : places[last] + 1]:
                found[node.id].append(row)
    return found


def edge_marked(edge: DiagramEdge, rows: Sequence[Row]) -> DiagramEdge:
    """The worst row about this argument; or the one that speaks for several, named by their first."""
    own = [row for row in rows if row.argument == edge.position]
    before = [row.argument for row in rows if row.argument is not None and row.argument < edge.position]
    together = [row for row in rows if before and row.argument == max(before) and row.verdict in ACCEPTED]
    if not own and not together:
        return edge
    row = worst(own or together)
    return replace(edge, verdict=row.verdict, finding=finding(row))


def node_marked(node: DiagramNode, rows: Sequence[Row]) -> DiagramNode:
    if not rows:
        return node
    row = worst(rows)
    return replace(node, verdict=row.verdict, finding=finding(row))


@final
class Findings:
    """What a check found of each node and argument of a graph, for a description in which several are one."""

    def __init__(self, wiring: Wiring, checked: Diagram) -> None:
        self.nodes = dict(zip(wiring.order(), checked.nodes, strict=True))
        self.edges = {(edge.target, edge.position): edge for edge in checked.edges}

    def on_box(self, node: DiagramNode, part: Part) -> DiagramNode:
        """A box with the worst that was found of what is in it."""
        found = [self.nodes[thing] for thing in part.things if self.nodes[thing].verdict]
        if not found:
            return node
        wrong = [one for one in found if one.wrong]
        if node.fold is not None and wrong:
            return accused(node, node.fold, wrong)
        first = min(found, key=lambda one: WORST_FIRST.index(one.verdict))
        return replace(node, verdict=first.verdict, finding=first.finding)

    def on_edge(self, edge: DiagramEdge, result: int) -> DiagramEdge:
        """An edge to the one result that is in its box."""
        checked = self.edges[self.nodes[result].id, edge.position]
        return replace(edge, verdict=checked.verdict, finding=checked.finding)


def accused(node: DiagramNode, fold: Fold, wrong: Sequence[DiagramNode]) -> DiagramNode:
    """A box with wrong operations inside: which they are, how many, and the numbers of the first."""
    names = tuple(name for one in wrong for name in one.wrong)
    finding = f"{named_and_counted(names)}, {wrong[0].finding}"
    fold = replace(fold, wrong=names)
    return replace(node, verdict=WRONG, finding=finding, line=wrong[0].line, fold=fold)


def named_and_counted(names: Iterable[str]) -> str:
    return " and ".join(f"{name} × {times:,}" if times > 1 else name for name, times in Counter(names).most_common())


def worst(rows: Iterable[Row]) -> Row:
    return min(rows, key=lambda row: (WORST_FIRST.index(row.verdict), -row.badness))


def finding(row: Row) -> str:
    """A row in a few words; nothing where there is nothing to add to "right"."""
    if row.verdict == RIGHT:
        return ""
    if row.verdict == KINK and row.left is not None and row.right is not None:
        text = f"autograd {row.autograd:.4g}, slopes {row.left:.4g} and {row.right:.4g}"
    elif math.isnan(row.autograd) and math.isnan(row.numeric):
        text = ""
    else:
        text = ", ".join(f"{side} {x}" for side, x in zip(("autograd", "numeric"), told_apart(row), strict=True))
        text += f" ± {row.error:.1g}" if row.verdict == NOISY else ""
    rule = f"its rule is at {file_line(row.rule)}" if row.verdict == WRONG and row.rule else ""
    return "; ".join(filter(None, [text, row.note, rule]))


def told_apart(row: Row) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to see that they differ."""
    for digits in (4, 6, 9, 12):
        autograd, numeric = (in_digits(x, digits) for x in (row.autograd, row.numeric))
        if autograd != numeric:
            return autograd, numeric
    return in_digits(row.autograd, 17), in_digits(row.numeric, 17)


def in_digits(x: float, digits: int) -> str:
    return f"{x:.{digits}g}".replace("nan", "NaN")

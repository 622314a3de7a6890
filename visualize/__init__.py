"""Drawings of what happened: every value with its data and gradient, every operation with its local derivatives.

`diagram` describes a graph in plain immutable data, `draw` turns that into Graphviz, `mermaid` into a flowchart for
Markdown, `render` into a picture or a file of text.
"""

from .diagram import Diagram as Diagram
from .diagram import DiagramEdge as DiagramEdge
from .diagram import DiagramNode as DiagramNode
from .diagram import Fold as Fold
from .diagram import Quantity as Quantity
from .diagram import diagram as diagram
from .dot import draw as draw
from .dot import render as render
from .live import Page as Page
from .live import live as live
from .mermaid import mermaid as mermaid
from .step import Page as Page
from .step import step as step
from .story import Contribution as Contribution
from .story import Formula as Formula
from .story import Step as Step
from .story import Story as Story
from .story import story as story

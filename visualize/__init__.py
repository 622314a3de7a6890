"""Drawings of what happened: every value with its data and gradient, every operation with its local derivatives.

`diagram` describes a graph in plain immutable data, `draw` turns that into Graphviz, `mermaid` into a flowchart for
Markdown, `render` into a picture or a file of text.
"""

# Written by tests/project/test_facades.py: what is in `__all__` of each file.
# isort: split
from .describing.description import Diagram as Diagram
from .describing.description import DiagramEdge as DiagramEdge
from .describing.description import DiagramNode as DiagramNode
from .describing.description import Fold as Fold
from .describing.description import Quantity as Quantity
from .describing.diagram import diagram as diagram
from .drawing.dot import draw as draw
from .drawing.dot import render as render
from .drawing.mermaid import mermaid as mermaid
from .folding.groups import Group as Group
from .folding.groups import groups as groups
from .plotting.curves import plot_check as plot_check
from .plotting.curves import plot_gradient_flow as plot_gradient_flow
from .plotting.curves import plot_loss as plot_loss
from .plotting.landscape import plot_decision_boundary as plot_decision_boundary
from .plotting.landscape import plot_loss_surface as plot_loss_surface
from .plotting.parameters import plot_histograms as plot_histograms
from .plotting.parameters import plot_weights as plot_weights
from .serving.live import LivePage as LivePage
from .serving.live import live as live
from .stepping.step import StepPage as StepPage
from .stepping.step import step as step
from .stepping.story import Contribution as Contribution
from .stepping.story import Formula as Formula
from .stepping.story import Step as Step
from .stepping.story import Story as Story
from .stepping.story import story as story

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
from .fold import Group as Group
from .fold import groups as groups
from .live import LivePage as LivePage
from .live import live as live
from .mermaid import mermaid as mermaid
from .plot_landscape import plot_decision_boundary as plot_decision_boundary
from .plot_landscape import plot_loss_surface as plot_loss_surface
from .plot_parameters import plot_histograms as plot_histograms
from .plot_parameters import plot_weights as plot_weights
from .plots import plot_check as plot_check
from .plots import plot_gradient_flow as plot_gradient_flow
from .plots import plot_loss as plot_loss
from .step import StepPage as StepPage
from .step import step as step
from .story import Contribution as Contribution
from .story import Formula as Formula
from .story import Step as Step
from .story import Story as Story
from .story import story as story

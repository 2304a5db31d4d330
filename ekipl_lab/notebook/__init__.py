"""For notebooks: training with curves that move, groups and figures that stay in a saved notebook.

``training`` runs a config in a thread; ``curves`` draws small charts; ``groups`` shows a group as a
table; ``figures`` shows a plotly figure with a picture of it beside, for viewers without scripts.
"""

from ekipl_lab.notebook.figures import show_figure
from ekipl_lab.notebook.groups import show_group
from ekipl_lab.notebook.training import LiveTraining

__all__ = ["LiveTraining", "show_figure", "show_group"]

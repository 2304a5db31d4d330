"""What notebooks import: training with curves that move, groups and figures that stay."""

from ekipl_lab.notebook.show import show_figure, show_group, show_image
from ekipl_lab.notebook.training import LiveTraining, quiet

__all__ = ["LiveTraining", "quiet", "show_figure", "show_group", "show_image"]

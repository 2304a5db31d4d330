"""`ekipl teach report` and `ekipl teach precompute`: look at teachers, fill their cache."""

from ekipl_lab.teach.precompute import teach_precompute_command
from ekipl_lab.teach.report import teach_report_command

__all__ = ["teach_precompute_command", "teach_report_command"]

"""`ekipl teach preview, report, precompute, record`: look at teachers, buy or write down words."""

from ekipl_lab.commands.teach.precompute import teach_precompute_command
from ekipl_lab.commands.teach.preview import teach_preview_command
from ekipl_lab.commands.teach.record import teach_record_command
from ekipl_lab.commands.teach.report import teach_report_command

__all__ = [
    "teach_precompute_command",
    "teach_preview_command",
    "teach_record_command",
    "teach_report_command",
]

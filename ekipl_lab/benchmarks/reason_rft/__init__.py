"""Reason-RFT-CoT (arXiv 2503.20752): loader, checks and converters for the published data set.

Source and licences: ``layout.py``. Nothing of it is shipped with this project.
"""

from ekipl_lab.benchmarks.reason_rft.checking import CheckReport, check_folder, check_lines
from ekipl_lab.benchmarks.reason_rft.exporting import FORMS, export
from ekipl_lab.benchmarks.reason_rft.layout import FILES, LICENCE, SOURCE, TASKS
from ekipl_lab.benchmarks.reason_rft.loading import iterate
from ekipl_lab.benchmarks.reason_rft.reading import read_records

__all__ = [
    "FILES",
    "FORMS",
    "LICENCE",
    "SOURCE",
    "TASKS",
    "CheckReport",
    "check_folder",
    "check_lines",
    "export",
    "iterate",
    "read_records",
]

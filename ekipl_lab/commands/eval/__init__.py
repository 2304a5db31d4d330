"""`ekipl eval`: ``options`` what is asked, ``command`` the run, ``tables`` what is shown."""

from ekipl_lab.commands.eval.command import run
from ekipl_lab.commands.eval.options import add_options

__all__ = ["add_options", "run"]

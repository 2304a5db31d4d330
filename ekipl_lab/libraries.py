"""Whether torchvision, if it is installed, is one that torch can use.

transformers imports it wherever it finds it, so that one built for another torch breaks every
model, also those that need none. Call `check_torchvision` before transformers or TRL is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util

from ekipl_lab.errors import ConfigError

INSTALL_IT = "`pip install '.[gpu]' -c constraints.txt` in the project's folder"


def reason(error: BaseException) -> str:
    """The first line with words of an error's message; its type where it has none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def check_torchvision() -> None:
    """ConfigError if torchvision is installed and cannot be imported beside this torch."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # RuntimeError for a missing operator, ImportError, OSError
        found = {name: importlib.metadata.version(name) for name in ("torch", "torchvision")}
        raise ConfigError(
            f"torchvision {found['torchvision']} does not fit torch {found['torch']} "
            f"({reason(error)}); install both from one place, with versions made for each other: "
            f"{INSTALL_IT}, beside a CPU build of torch with `--index-url "
            "https://download.pytorch.org/whl/cpu`; or remove it: `pip uninstall torchvision`."
        ) from error

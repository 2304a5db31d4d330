"""An error as the page says it: without the places of this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ekipl_lab.errors import EKIPLError, printable
from ekipl_lab.tracking import store

#: Longest text of an error that is shown.
MAX_SHOWN = 1_000


def said(error: EKIPLError) -> str:
    """The sentence of an error; folders of this machine are named by their last part alone."""
    text = printable(str(error))
    places = {store.store_folder(), store.project_root(), Path.cwd(), Path.home()}
    places |= {Path(tempfile.gettempdir())}
    for place in sorted(map(str, places), key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, Path(place).name)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"

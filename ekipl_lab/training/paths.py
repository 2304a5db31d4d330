"""Where a policy of a config lies."""

from __future__ import annotations

from pathlib import Path

from ekipl_lab.tracking.store import project_root


def policy_path(path: str) -> str | Path:
    """Where a policy lies: a folder, here or in the project, or the id of a hub model.

    A notebook runs in a folder of its own, and its configs name paths from the project's.
    """
    in_project = project_root() / path
    return in_project if not Path(path).is_dir() and in_project.is_dir() else path

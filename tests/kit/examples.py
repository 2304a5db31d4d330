"""How many examples Hypothesis draws of a second implementation's inputs."""

import os


def examples(count: int) -> int:
    """All in `make verify`, which sets EKIPL_VERIFY; the first quarter in `make test`."""
    return count if os.environ.get("EKIPL_VERIFY") else count // 4

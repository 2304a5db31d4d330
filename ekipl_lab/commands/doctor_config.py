"""What `ekipl doctor --config` looks at besides: the policy and the teachers of a config."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ekipl_lab.errors import ConfigError

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig

#: A check: its name, and what gives the line to print.
Check = tuple[str, Callable[[], str]]
#: The shipped warm start.
DEFAULT_POLICY = Path("assets/policies/counting")


def check_policy(path: str | Path = DEFAULT_POLICY) -> str:
    """A policy loads and sees (another image changes its logits)."""
    from transformers.utils import logging

    from ekipl_lab.policies.load import load_policy

    logging.disable_progress_bar()
    policy = load_policy(path)
    size = sum(parameter.numel() for parameter in policy.model.parameters())
    return f"{path}: {size / 1e6:.2f} M parameters; another image changes its logits: it sees"


def config_checks(config: RunConfig, file: Path) -> list[Check]:
    """What a config needs beside the main job: its recipe, its policy, its teachers' servers."""
    checks: list[Check] = [("its stages", partial(check_stages, file))]
    path = config.policy.path
    if path is not None and Path(path) != DEFAULT_POLICY:
        checks.append(("its policy", partial(check_config_policy, path)))
    for teacher in [m for one in config.teachers for m in getattr(one, "members", (one,))]:
        if hasattr(teacher, "base_url"):
            checks.append((f"teacher {teacher.id}", partial(check_teacher, teacher)))
    return checks


def check_stages(file: Path) -> str:
    """What `ekipl train` would do with the config."""
    from ekipl_lab.commands.train import stage_line
    from ekipl_lab.studies.recipe import plan_recipe

    steps = plan_recipe(None, file)
    return ", then ".join(map(stage_line, steps)) if steps else "a run of the trainer"


def check_config_policy(path: str) -> str:
    """A policy of a config, if it is on this machine."""
    if not Path(path).exists():
        raise LookupError(
            f"{path} is not on this machine, so its image path was not tried; `ekipl train "
            "--config ... --dry-run` reads it, `--probe` runs one step of it"
        )
    return check_policy(path)


def check_teacher(spec: Any) -> str:
    """The key of an API teacher is set, and its server (or the proxy) takes connections.

    A connection is opened and closed: nothing is asked, so nothing is paid.
    """
    adapter = getattr(spec, "adapter", None)
    address = spec.base_url or getattr(adapter, "default_url", "")
    if not address:
        return "its address is in its own code, and was not tried"
    default_key = adapter.key.env if adapter is not None and spec.base_url is None else None
    key = spec.api_key_env or default_key
    if key and key not in os.environ:
        raise ConfigError(f"The variable {key}, its key, is not set; `export {key}=...`.")
    parts = urlsplit(address)
    host = parts.hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else _proxy(parts.scheme)
    place = urlsplit(proxy or address)
    port = place.port or (443 if place.scheme == "https" else 80)
    shown = f"{place.hostname}:{port}" + (f", the proxy to {host}," if proxy else "")
    try:
        socket.create_connection((place.hostname or "", port), timeout=3).close()
    except (OSError, UnicodeError) as error:  # the latter: a host that is no name
        raise ConfigError(
            f"{shown} cannot be reached ({error}); start the server, fix base_url or the proxy's "
            "variables, or repeat recorded answers (`ekipl teach record`)."
        ) from error
    return f"{shown} takes connections; no request was sent, `ekipl teach preview` sends some"


def _proxy(scheme: str) -> str | None:
    return urllib.request.getproxies().get(scheme)

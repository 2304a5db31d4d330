"""``a.b=c`` overrides of a config's plain values: values are YAML, list items go by number."""

from __future__ import annotations

from typing import Any

import yaml

from ekipl_lab.errors import ConfigError


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one value in ``raw``; ConfigError for one without place or form."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"Override {override!r} must have the form key=value, such as seed=1.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"The value of override {override!r} is not valid YAML.") from error
    target: Any = raw
    for part in parts[:-1]:
        target = _child(target, part, override)
    if isinstance(target, list):
        target[_index(target, parts[-1], override)] = value
    elif isinstance(target, dict):
        target[parts[-1]] = value
    else:
        raise ConfigError(f"Override {override!r}: {parts[-2]!r} holds one value, not settings.")


def _child(target: Any, part: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, override)]
    if not isinstance(target, dict):
        raise ConfigError(f"Override {override!r}: what is before {part!r} has no settings.")
    if target.get(part) is None:
        target[part] = {}
    return target[part]


def _index(target: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise ConfigError(
            f"Override {override!r}: {part!r} must be a number from 0 to {len(target) - 1}."
        )
    return int(part)

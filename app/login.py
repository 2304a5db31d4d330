"""Who may see the page: anyone on this machine, elsewhere one user with a password."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from ekipl_lab.errors import ConfigError

#: Environment variables with the name and the password.
USER, PASSWORD = "EKIPL_APP_USER", "EKIPL_APP_PASSWORD"
#: Names of this machine for itself.
LOCAL = frozenset({"127.0.0.1", "localhost"})
SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Login:
    """The one user of a page that others on the network reach."""

    user: str
    password: str = field(repr=False)

    def admits(self, header: str) -> bool:
        """Whether an ``Authorization: Basic`` header names this user, in constant time."""
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        given = header.encode("utf-8", "replace")
        return hmac.compare_digest(given, f"Basic {expected}".encode())


def login_for(host: str, environment: Mapping[str, str]) -> Login | None:
    """The login of a page on ``host``; None where anyone on this machine may see it.

    Raises ConfigError where one is needed and not set, or the password is short.
    """
    user, password = environment.get(USER, ""), environment.get(PASSWORD, "")
    if host in LOCAL and not user and not password:
        return None
    if not user or ":" in user or len(password) < SHORTEST:
        raise ConfigError(
            f"A page on {host} needs a user and a password; set {USER} (without a colon) and "
            f"{PASSWORD} ({SHORTEST} or more characters), or leave --host and both out."
        )
    return Login(user, password)

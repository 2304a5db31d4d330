"""Taking a port, before anything slow is imported: a taken one is said at once."""

from __future__ import annotations

import socket

from ekipl_lab.errors import ConfigError

HOST = "127.0.0.1"


def bind(port: int, host: str = HOST) -> socket.socket:
    """A socket on host:port, held from now on. Raises ConfigError if it cannot be had."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"Port {port} does not exist; choose one from 1024 to 65535.")
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
        held.listen(128)
    except (OSError, UnicodeError) as error:
        held.close()
        if isinstance(error, socket.gaierror | UnicodeError):
            raise ConfigError(f"Host {host!r} is no address of this machine.") from error
        raise ConfigError(
            f"Port {port} cannot be used ({error.strerror}); stop what listens there or choose "
            f"another, such as --port {port + 1 if port < 65535 else 7860}."
        ) from error
    return held

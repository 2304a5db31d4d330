"""MLflow's own page over this project's store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking import store


def serve(port: int = 5000) -> int:
    """Run ``mlflow server`` on 127.0.0.1 until it is stopped; its exit code.

    Raises ConfigError if the port is in use, or if the store is a server already.
    """
    root = store.artifact_root()
    if root is None:
        raise ConfigError(
            f"MLFLOW_TRACKING_URI names a server already: open {store.shown(store.tracking_uri())}."
        )
    _check_port(port)
    store.ensure_store()
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C stops it)", flush=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store.tracking_uri()),
        *("--default-artifact-root", root),
    ]
    process = subprocess.Popen(command, env=server_environment())
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def _check_port(port: int) -> None:
    """Raise ConfigError if nothing can listen on this port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"Port {port} cannot be used ({error}); choose another with --port."
            ) from error


def server_environment() -> dict[str, str]:
    """The environment of the server: no telemetry, no job processes."""
    return {**os.environ, **store.QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

"""MLflow's own page over this project's store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser

from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking import store
from ekipl_lab.tracking.pages import start_address


def serve(port: int = 5000, *, browser: bool = False) -> int:
    """Run ``mlflow server`` on 127.0.0.1 until it is stopped; its exit code.

    Prints the address of the list of runs; with ``browser`` opens it once the server answers.
    Raises ConfigError if the port is in use, or if the store is a server already.
    """
    root = store.artifact_root()
    if root is None:
        raise ConfigError(
            f"MLFLOW_TRACKING_URI names a server already: open {store.shown(store.tracking_uri())}."
        )
    _check_port(port)
    store.ensure_store()
    root_address = f"http://127.0.0.1:{port}"
    address = start_address(store.client(), root_address)
    print(f"MLflow's runs: {address} (Ctrl-C stops it)", flush=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store.tracking_uri()),
        *("--default-artifact-root", root),
    ]
    process = subprocess.Popen(command, env=server_environment())
    if browser:
        opening = (process, root_address, address)
        threading.Thread(target=_open, args=opening, daemon=True).start()
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def _open(process: subprocess.Popen[bytes], root: str, address: str) -> None:
    """Show the address in the user's browser once the server answers; not if it ends before."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{root}/health", timeout=5).close()
        except OSError:
            time.sleep(0.3)
            continue
        webbrowser.open(address)
        return


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

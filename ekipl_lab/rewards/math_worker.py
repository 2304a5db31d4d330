"""The process in which math-verify runs: one JSON request a line in, one JSON reply a line out.

Started by ``ekipl_lab.rewards.mathematics``. Symbolic algebra can run for ever or fill the memory
on hostile input, inside C code that no exception reaches, so each request gets a limit of CPU time
(a signal whose default action ends this process) and the process a limit of memory.
"""

from __future__ import annotations

import json
import sys
from typing import Any

CPU_SECONDS = 2.0
MEMORY_BYTES = 2 * 1024**3


def answer_request(request: dict[str, str]) -> dict[str, Any]:
    """``{"parse": text}`` -> ``{"ok": bool}``; ``{"gold": .., "text": ..}`` -> ``{"ok": bool}``.

    A text that math-verify cannot read is not equal to anything; running out of memory is an
    error reply.
    """
    from math_verify import parse, verify

    try:
        if "parse" in request:
            return {"ok": len(parse(request["parse"], parsing_timeout=None)) > 0}
        gold = parse(request["gold"], parsing_timeout=None)
        text = parse(request["text"], parsing_timeout=None)
        return {"ok": bool(verify(gold, text, timeout_seconds=None))}
    except (MemoryError, RecursionError) as error:
        return {"error": type(error).__name__}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _limit_cpu(seconds: float) -> None:
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def main() -> None:
    """Serve until the input ends."""
    import math_verify  # noqa: F401

    _limit_memory()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        _limit_cpu(CPU_SECONDS)
        reply = answer_request(json.loads(line))
        _limit_cpu(0.0)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()

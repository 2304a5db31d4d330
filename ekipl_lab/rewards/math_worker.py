"""The process in which math-verify runs: one JSON request a line in, one JSON reply a line out.

Started by ``ekipl_lab.rewards.mathematics``. Symbolic algebra can run for ever or fill the memory
on hostile input, inside C code that no exception reaches, so each request gets a limit of CPU time
(a signal whose default action ends this process) and the process a limit of memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

CPU_SECONDS = 2.0
MEMORY_BYTES = 2 * 1024**3
#: Relative differences up to which numbers are equal: six digits where one of them is a decimal
#: fraction, as 0.333333 for 1/3, else what is left of exact values at so many digits.
DECIMAL_TOLERANCE, EXACT_TOLERANCE, _DIGITS = 5e-6, 1e-60, 100


def answer_request(request: dict[str, str]) -> dict[str, Any]:
    """``{"parse": text}`` -> ``{"ok": bool}``; ``{"gold": .., "text": ..}`` -> ``{"ok": bool}``.

    With ``"compare": "relative"``, numbers must also be near in proportion to their size, and a
    text that is no LaTeX is equal to itself alone, and not ``ok`` to parse.
    A text that math-verify cannot read is not equal to anything; running out of memory is an
    error reply.
    """
    from math_verify import LatexExtractionConfig, grader, parse, verify

    relative = request.get("compare") == "relative"
    grader.sympy_numeric_eq = _near if relative else _published_near()
    # As LaTeX only: of LaTeX that has no sense, as 5(4, the other reader takes the first number.
    # And with its units, which it would drop: what is no unit of ours is a factor (units.py).
    form = replace(LatexExtractionConfig().normalization_config, units=False)
    latex = LatexExtractionConfig(normalization_config=form)
    ways = {"extraction_config": [latex]} if relative else {}
    try:
        if "parse" in request:
            found = parse(request["parse"], parsing_timeout=None, **ways)
            read = [one for one in found if not (relative and isinstance(one, str))]
            return {"ok": len(read) > 0}
        gold = parse(request["gold"], parsing_timeout=None, **ways)
        text = parse(request["text"], parsing_timeout=None, **ways)
        return {"ok": bool(verify(gold, text, timeout_seconds=None))}
    except (MemoryError, RecursionError) as error:
        return {"error": type(error).__name__}


@cache
def _published_near() -> Callable[..., bool]:
    from math_verify import grader

    published: Callable[..., bool] = grader.sympy_numeric_eq
    return published


def _near(a: Any, b: Any, float_rounding: int, numeric_precision: int) -> bool:
    """math-verify's own comparison of two numbers or expressions, and their relative difference.

    Its rounding to six decimals and its dropping of what is below 1e-15 are absolute. What is
    refused here it still compares symbolically.
    """
    from math_verify import grader

    if not _published_near()(a, b, float_rounding, numeric_precision):
        return False
    if isinstance(a, grader.MatrixBase):  # compared entry by entry, by this function
        return True
    if all(grader.is_atomic_or_pct_atomic(one, grader.Integer) for one in (a, b)):  # 9% for 9
        return True
    a, b = grader.safe_sympy_doit(a), grader.safe_sympy_doit(b)
    if isinstance(a, grader.Rational) and isinstance(b, grader.Rational):
        return bool(a == b)
    names = sorted(a.free_symbols | b.free_symbols, key=str)
    half = grader.Rational(1, 2)
    values = {name: (2 + 3 * index) ** half for index, name in enumerate(names)}
    decimal = a.has(grader.Float) or b.has(grader.Float)
    first, second = (one.subs(values).evalf(_DIGITS) for one in (a, b))
    within = DECIMAL_TOLERANCE if decimal else EXACT_TOLERANCE
    try:
        return bool(abs(first - second) <= within * max(abs(first), abs(second)))
    except TypeError:
        return False


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

"""Hostile completions: bounded in time, in threads and processes, and not to be gamed."""

import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ekipl_lab.errors import ConfigError, RewardError
from ekipl_lab.rewards import SCORERS
from ekipl_lab.rewards.audit import ATTACKS, CASES, audit, audit_table
from ekipl_lab.rewards.mathematics import MathWorker

MEGABYTE = 1_000_000

#: A megabyte each, made to send a backtracking search or a nested loop to quadratic time.
HOSTILE = {
    "letters": "a" * MEGABYTE,
    "open tags": "<answer>" * (MEGABYTE // 8),
    "frames": "<think></think><answer>" * (MEGABYTE // 23),
    "think ends": "<think>" + "</think> " * (MEGABYTE // 9),
    "blanks": "<think></think>" + " " * MEGABYTE + "<answer>",
    "open calls": "f(" * (MEGABYTE // 2),
    "half calls": "f(0, " * (MEGABYTE // 5),
    "quoted": "f(0, '" + "b" * MEGABYTE,
    "many calls": "".join(f"f({i}, a)" for i in range(MEGABYTE // 12)),
    "separators": ", " * (MEGABYTE // 2),
    "digits": "9" * MEGABYTE,
    "dots": "1." * (MEGABYTE // 2),
    "brackets": "(" * MEGABYTE,
    "latex": "\\frac{" * (MEGABYTE // 6),
    "nul": "\0" * MEGABYTE,
    "surrogates": "\ud800" * (MEGABYTE // 2),
}


@pytest.mark.parametrize("name", SCORERS)
def test_a_hostile_megabyte_is_scored_at_once(name: str) -> None:
    """Quadratic time would take hours here: the run's own timeout is for that."""
    truth = CASES[name.rsplit("/", 1)[1]].right
    for text in HOSTILE.values():
        for completion in (text, f"<think>x</think><answer>{text}</answer>"):
            score = SCORERS[name](completion, truth)
            assert math.isnan(score) or -1.0 <= score <= 1.0
            if name.startswith("ekipl/") and not name.endswith("/format"):
                assert score == 0.0


def test_the_audit_finds_nothing_in_ours_and_the_known_holes_in_theirs() -> None:
    rows = audit([name for name in SCORERS if not name.endswith("/math")])
    assert not [row for row in rows if row.gamed and row.scorer.startswith("ekipl/")]
    gamed = {(row.scorer, row.attack): row.score for row in rows if row.gamed}
    train, evaluated = "reason_rft/train/transformation", "reason_rft/eval/transformation"
    assert gamed["reason_rft/train/counting", "right answer first, then another"] == 1.0
    assert gamed["reason_rft/train/counting", "no tags, right answer named"] == 1.0
    assert gamed["reason_rft/train/format", "empty reasoning, wrong answer"] == 1.0
    assert gamed[evaluated, "right in the reasoning, broken lines"] == 0.5
    assert gamed[evaluated, "right, repeated"] == 1.0
    assert (train, "right, repeated") not in gamed
    silent = [row for row in rows if row.silent]
    assert [(row.scorer, row.attack) for row in silent] == [
        ("reason_rft/train/geometry_numeric", "nan")
    ]


def test_the_audit_of_mathematics() -> None:
    rows = audit(["ekipl/math"])
    assert [row.attack for row in rows] == list(ATTACKS)
    assert not [row for row in rows if row.gamed]
    assert [row.attack for row in rows if row.silent] == ["a power tower"]


def test_the_audit_table_names_what_games_a_scorer() -> None:
    table = audit_table(audit(["ekipl/letter", "reason_rft/train/format"])).splitlines()
    assert table[2] == "| `ekipl/letter` | nothing tried | - | - |"
    assert "two frames in one (1)" in table[3]
    with pytest.raises(ConfigError, match="did you mean 'ekipl/letter'"):
        audit(["ekipl/leter"])


def test_threads_agree_with_the_main_thread() -> None:
    jobs = [
        (name, build(CASES[name.rsplit("/", 1)[1]]), CASES[name.rsplit("/", 1)[1]].right)
        for name in ("reason_rft/eval/counting", "ekipl/geometry", "reason_rft/train/format")
        for attack, build in ATTACKS.items()
        if attack != "a power tower"
    ]
    alone = [SCORERS[name](text, truth) for name, text, truth in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: SCORERS[job[0]](job[1], job[2]), jobs))
    assert together == alone


def test_a_forked_process_scores_with_a_worker_of_its_own() -> None:
    program = (
        "import os\n"
        "from ekipl_lab.rewards.mathematics import math_equal\n"
        "assert math_equal('$1/2$', '$0.5$') is True\n"
        "child = os.fork()\n"
        "equal = math_equal('$1/4$', '$0.25$'), math_equal('$1/4$', '$0.26$')\n"
        "assert equal == (True, False), equal\n"
        "if child == 0:\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr


def test_a_worker_that_was_killed_from_outside_is_replaced() -> None:
    """Dead when looked at, and dead only when written to (its pipe is closed, it still runs)."""
    worker = MathWorker()
    assert worker.ask({"gold": "$1/2$", "text": "$0.5$"}) is True
    assert worker._process is not None and worker._process.stdin is not None
    worker._process.kill()
    worker._process.wait()
    assert worker.ask({"gold": "$1/2$", "text": "$0.25$"}) is False
    process, (reading, writing) = worker._process, os.pipe()
    process.send_signal(signal.SIGSTOP)  # so that it is not seen to have ended
    os.close(reading)
    os.dup2(writing, process.stdin.fileno())  # type: ignore[union-attr]
    os.close(writing)
    assert worker.ask({"gold": "$1/2$", "text": "$0.5$"}) is True
    assert worker._process is not process
    worker.close()


@pytest.mark.parametrize("name", [n for n in SCORERS if n.startswith("ekipl/")])
def test_a_ground_truth_that_cannot_be_scored_is_an_error_even_without_an_answer(name: str) -> None:
    if name.endswith("/format"):
        assert SCORERS[name]("", "") == 0.0
        return
    for completion in ("", "<think>x</think><answer>4</answer>"):
        with pytest.raises(RewardError, match="ground truth"):
            SCORERS[name](completion, " ")

"""The action cache: what is in it is served whole, once bought, and never twice."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from paths import ROOT

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.teachers.gateway.cache import ActionCache, cache_key, canonical_json
from ekipl_lab.teachers.gateway.cache_store import Store, is_gone, make_owner

WORKER = ROOT / "tests/kit/cache_worker.py"


@pytest.fixture
def cache(tmp_path: Path) -> ActionCache:
    return ActionCache(Store(tmp_path / "store.sqlite3"))


def other(cache: ActionCache, **kwargs: object) -> ActionCache:
    """A second process, as far as the store can tell."""
    return ActionCache(Store(cache.store.path), **kwargs)  # type: ignore[arg-type]


def alter(cache: ActionCache, statement: str, *values: object) -> None:
    with sqlite3.connect(cache.store.path) as db:
        db.execute(statement, values)


def test_a_key_is_the_hash_of_canonical_json() -> None:
    # sha256 of the seven bytes {"a":1}, as `printf '{"a":1}' | sha256sum` gives it
    assert cache_key({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert cache_key({"b": 2, "a": 1}) == cache_key({"a": 1, "b": 2})
    assert cache_key({"a": 1}) != cache_key({"a": "1"})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_what_is_put_is_got_by_any_process(cache: ActionCache) -> None:
    value = {"text": "<answer>2</answer> ü 漢 \u2028", "usage": {"prompt": 3}, "logprobs": [-0.1]}
    cache.put({"k": value})
    assert other(cache).get_many(["k", "absent"]) == {"k": value}
    assert len(cache) == 1


def test_the_first_answer_stays(cache: ActionCache) -> None:
    cache.put({"k": {"text": "first"}})
    other(cache).put({"k": {"text": "second"}})
    assert cache.get_many(["k"]) == {"k": {"text": "first"}}


def test_more_keys_than_one_statement_takes(cache: ActionCache) -> None:
    values = {f"k{i}": {"text": str(i)} for i in range(1203)}
    cache.put(values)
    assert cache.get_many(values) == values


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE actions SET value = '{\"text\":\"3\"}' WHERE key = 'k'",
        "UPDATE actions SET value = substr(value, 1, 9) WHERE key = 'k'",
        "UPDATE actions SET value = CAST(x'ff00fe' AS TEXT) WHERE key = 'k'",
        "UPDATE actions SET value = x'00' WHERE key = 'k'",
        "UPDATE actions SET checksum = '' WHERE key = 'k'",
        "UPDATE actions SET key = 'k', value = (SELECT value FROM actions WHERE key = 'other'), "
        "checksum = (SELECT checksum FROM actions WHERE key = 'other') WHERE key = 'k'",
    ],
    ids=["altered", "cut off", "not text", "blob", "no checksum", "another's row"],
)
def test_a_damaged_row_is_refused_and_bought_again(cache: ActionCache, damage: str) -> None:
    cache.put({"k": {"text": "2"}, "other": {"text": "9"}})
    alter(cache, damage)
    assert cache.get_many(["k"]) == {}
    claims = cache.claim(["k", "other"])
    assert claims.mine == ["k"]
    assert claims.ready == {"other": {"text": "9"}}
    assert cache.refused_rows == 1
    cache.put({"k": {"text": "2"}})
    assert cache.get_many(["k"]) == {"k": {"text": "2"}}


def test_a_claimed_key_is_busy_for_others_until_released(cache: ActionCache) -> None:
    second = other(cache)
    assert cache.claim(["a", "b"]).mine == ["a", "b"]
    assert second.claim(["a", "c"]).busy == ["a"]
    cache.release(["a"])
    assert second.claim(["a"]).mine == ["a"]
    second.put({"a": {"text": "1"}})
    assert cache.claim(["a"]).ready == {"a": {"text": "1"}}


def test_a_claim_ends_with_its_lease_unless_renewed(tmp_path: Path) -> None:
    now = [1000.0]
    store = tmp_path / "store.sqlite3"
    first = ActionCache(Store(store), lease=60, clock=lambda: now[0])
    second = ActionCache(Store(store), lease=60, clock=lambda: now[0])
    first.claim(["a", "b"])
    now[0] += 59
    first.renew(["a"])
    now[0] += 2
    claims = second.claim(["a", "b"])
    assert (claims.busy, claims.mine) == (["a"], ["b"])


def test_a_dead_owner_is_seen_before_its_lease_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = make_owner(child.pid)
    assert not is_gone(owner)
    child.communicate(b"\n")
    assert is_gone(owner)
    host, pid, _, rest = owner.rsplit(":", 3)
    assert not is_gone(f"elsewhere:{pid}:1:{rest}")
    reborn = make_owner(1).rsplit(":", 2)[0] + ":12345:abcd"  # same pid, another start
    assert is_gone(reborn)
    assert host


def test_a_store_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    alien, newer, text = (tmp_path / name for name in ("alien.db", "newer.db", "text.db"))
    with sqlite3.connect(alien) as db:
        db.execute("CREATE TABLE t (a)")
    Store(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 2")
    text.write_text("this is not a database, but a text long enough to be looked at" * 20)
    with pytest.raises(DataError, match=r"alien\.db is not a teacher store"):
        Store(alien)
    with pytest.raises(DataError, match="has schema 2, this program knows 1"):
        Store(newer)
    with pytest.raises(DataError, match=r"text\.db cannot be read"):
        Store(text)
    with pytest.raises(ConfigError, match="Cannot open"):
        Store(text / "inside")


HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("opened", [False, True], ids=["opening", "writing"])
def test_a_locked_store_is_waited_for_and_then_called_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    """Another process holds the lock: for less than the time-out, then for longer."""
    path = tmp_path / "store.sqlite3"
    for patience, held in ((60.0, 0.5), (0.3, 60.0)):
        monkeypatch.setattr("ekipl_lab.teachers.gateway.cache_store.BUSY_SECONDS", patience)
        Store(path).close()
        cache = ActionCache(Store(path)) if opened else None
        command = [sys.executable, "-c", HOLD, str(path), str(held)]
        with subprocess.Popen(command, stdout=PIPE, text=True) as other_process:
            assert other_process.stdout is not None
            assert other_process.stdout.readline() == "locked\n"
            if held < patience:
                (cache or ActionCache(Store(path))).put({"k": {"text": "2"}})
            else:
                with pytest.raises(ConfigError, match=r"was locked by another .* for 0\.3 s; end"):
                    (cache or ActionCache(Store(path))).put({"j": {"text": "3"}})
            other_process.kill()
    assert ActionCache(Store(path)).get_many(["k", "j"]) == {"k": {"text": "2"}}


def start_worker(path: Path, count: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(path), str(count), *arguments]
    worker = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def let_go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def run_workers(path: Path, count: int) -> list[list[int]]:
    """What two processes bought, each holding claims before either buys."""
    workers = [start_worker(path, count, seed) for seed in ("1", "2")]
    for worker in workers:
        let_go(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "claimed\n"
    for worker in workers:
        let_go(worker)
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    return [[int(line) for line in output.split()] for output in outputs]


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_two_processes_share_a_cache_and_buy_nothing_twice(tmp_path: Path, count: int) -> None:
    path = tmp_path / "store.sqlite3"
    first, second = run_workers(path, count)
    assert sorted(first + second) == list(range(count))
    assert first and second
    assert len(ActionCache(Store(path))) == count


def test_claims_of_a_killed_process_are_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    killed = start_worker(path, 200, "1", "60")
    killed.communicate("\n")
    assert killed.returncode == -9
    kept = ActionCache(Store(path))
    assert len(kept) == 60
    first, second = run_workers(path, 200)
    assert len(first + second) == 140
    assert len(kept) == 200

"""Buys every key of 0..n-1 through a shared cache; prints what it bought. Run as a process.

python cache_worker.py STORE COUNT SEED [die-after]: with ``die-after`` it kills itself with
SIGKILL while it holds claims, after that many purchases. It starts when it may read a line, says
``claimed`` when it holds its first claims, and buys them when it may read another.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from ekipl_lab.teachers.gateway.cache import ActionCache, cache_key
from ekipl_lab.teachers.gateway.cache_store import Store


def main(path: str, count: int, seed: int, die_after: int | None = None) -> None:
    cache = ActionCache(Store(Path(path)))
    print("ready", flush=True)
    sys.stdin.readline()
    keys = [cache_key({"n": number}) for number in range(count)]
    todo = {key: number for number, key in enumerate(keys)}
    rng, bought, first = random.Random(seed), 0, True
    while todo:
        batch = rng.sample(sorted(todo), min(25, len(todo)))
        claims = cache.claim(batch)
        if first:
            print("claimed", flush=True)
            sys.stdin.readline()
            first = False
        for key, value in claims.ready.items():
            assert value == {"text": str(todo.pop(key))}, (key, value)
        for key in claims.mine:
            bought += 1
            print(todo[key], flush=True)
            if die_after is not None and bought > die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            cache.put({key: {"text": str(todo.pop(key))}})
        if not claims.ready and not claims.mine:
            time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *(int(arg) for arg in sys.argv[4:]))

"""Asks a teacher about questions 0..n-1 in batches and prints ``number answer`` as it gets them.

python gateway_worker.py URL FOLDER COUNT SEED BATCH: SEED shuffles the order. It starts when it
may read a line.
"""

import random
import sys
from pathlib import Path

from api_kit import PARAMS, api_gateway, numbered

from ekipl_lab.parsing import parse_completion


def main(url: str, folder: str, count: int, seed: int, batch: int) -> None:
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    with api_gateway(url, Path(folder), timeout=30.0, in_flight=16) as gateway:
        print("ready", flush=True)
        sys.stdin.readline()
        for start in range(0, count, batch):
            part = numbers[start : start + batch]
            rows = gateway.propose([numbered(number) for number in part], 1, PARAMS)
            for number, (action,) in zip(part, rows, strict=True):
                print(number, parse_completion(action.completion).answer, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:6]))

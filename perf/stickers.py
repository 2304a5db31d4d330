"""A small data set as it might come from elsewhere: PNG pictures, CSV tables, its own wording.

    python perf/stickers.py stickers --questions 10000

Each picture (64 pixels square) is a wall with two to five stickers, anywhere on it, no two of one
colour: one or two numerals and some outlines. Five kinds of questions are asked. Nothing of the
built-in benchmark is used. The split's name and the seed draw the pictures, so that no picture of
one split is in another.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 64
PAINTS = {
    "scarlet": (215, 40, 40), "azure": (50, 110, 235), "lime": (60, 190, 60),
    "amber": (245, 190, 30), "violet": (150, 60, 190), "ink": (20, 20, 20),
}  # fmt: skip
OUTLINES = ("disc", "box", "star", "wedge", "hoop", "plus")
KINDS = ("paint", "numeral", "outline", "tally", "sum")
PER_PICTURE = 4

DESCRIPTION = """\
name: stickers
task: wall
answer_type: text
splits: {train: train.csv, validation: validation.csv, test: test.csv}
images: pictures
columns: {id: key, image: file, question: asked, answer: said, family: kind}
prompt: "{question}"
licence: CC0-1.0
"""

Sticker = tuple[str, str, float, float]  # what it shows, its paint, its centre


def wall(rng: random.Random) -> list[Sticker]:
    """Two to five stickers, one or two of them numerals, all of different paints and figures."""
    count, numerals = rng.randint(2, 5), rng.randint(1, 2)
    figures = rng.sample("0123456789", numerals) + rng.sample(OUTLINES, count - numerals)
    places = spots(rng, count)
    return [
        (figure, paint, *place)
        for figure, paint, place in zip(
            figures, rng.sample(list(PAINTS), count), places, strict=True
        )
    ]


def spots(rng: random.Random, count: int) -> list[tuple[float, float]]:
    """Centres at least 18 pixels apart, at least 10 from the border."""
    while True:  # a few draws in a hundred leave no room for the last
        found = [(rng.uniform(10, SIDE - 10), rng.uniform(10, SIDE - 10)) for _ in range(count)]
        if all(math.dist(one, other) >= 18 for one, other in combinations(found, 2)):
            return found


def draw(stickers: list[Sticker], rng: random.Random) -> Image.Image:
    """The picture: a pale wall of any tint with the stickers on it."""
    tint = tuple(rng.randint(205, 255) for _ in range(3))
    image = Image.new("RGB", (SIDE, SIDE), tint)
    pen = ImageDraw.Draw(image)
    for figure, paint, x, y in stickers:
        colour, half = PAINTS[paint], rng.uniform(7, 9)
        if figure.isdigit():
            font = ImageFont.load_default(size=2.4 * half)
            pen.text((x, y), figure, fill=colour, font=font, anchor="mm", stroke_width=0.6)
        else:
            outline(pen, figure, x, y, half, colour)
    return image


def outline(
    pen: ImageDraw.ImageDraw, figure: str, x: float, y: float, half: float, colour: tuple[int, ...]
) -> None:
    """One outline, filled with its paint."""
    frame = (x - half, y - half, x + half, y + half)
    if figure == "disc":
        pen.ellipse(frame, fill=colour)
    elif figure == "box":
        pen.rectangle(frame, fill=colour)
    elif figure == "hoop":
        pen.ellipse(frame, outline=colour, width=3)
    elif figure == "plus":
        pen.rectangle((x - half, y - 2.5, x + half, y + 2.5), fill=colour)
        pen.rectangle((x - 2.5, y - half, x + 2.5, y + half), fill=colour)
    else:
        points, dents = (10, 0.45) if figure == "star" else (3, 1.0)
        turns = [math.tau * point / points - math.pi / 2 for point in range(points)]
        reach = [half * (dents if point % 2 and points == 10 else 1.0) for point in range(points)]
        corners = zip(turns, reach, strict=True)
        pen.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for t, r in corners], fill=colour)


def ask(kind: str, stickers: list[Sticker], rng: random.Random) -> tuple[str, str] | None:
    """A question of a kind and its answer; None where the picture has nothing to ask so."""
    numerals = [sticker for sticker in stickers if sticker[0].isdigit()]
    shapes = [sticker for sticker in stickers if not sticker[0].isdigit()]
    if kind == "tally":
        return "Give the tally of stickers on this wall.", str(len(stickers))
    if kind == "sum":
        total = str(sum(int(sticker[0]) for sticker in numerals))
        return ("Add up both numerals.", total) if len(numerals) == 2 else None
    if kind == "numeral":
        figure, paint, *_ = rng.choice(numerals)
        return f"Which numeral is in {paint}?", figure
    if not shapes:
        return None
    figure, paint, *_ = rng.choice(shapes)
    if kind == "paint":
        return f"Name the paint of the {figure}.", paint
    return f"What outline does the {paint} sticker have?", figure


def records(split: str, questions: int, seed: int, folder: Path) -> Iterator[dict[str, str]]:
    """The rows of a split; its pictures are written on the way."""
    made = number = 0
    while made < questions:
        rng = random.Random(f"stickers/{split}/{seed}/{number}")
        stickers = wall(rng)
        name = f"{split}-{number:05}.png"
        draw(stickers, rng).save(folder / name)
        asked = [(kind, ask(kind, stickers, rng)) for kind in rng.sample(KINDS, len(KINDS))]
        told = [(kind, *found) for kind, found in asked if found is not None][:PER_PICTURE]
        for place, (kind, question, answer) in enumerate(told[: questions - made]):
            key = f"{number:05}-{place}"
            yield {"key": key, "file": name, "kind": kind, "asked": question, "said": answer}
        made, number = made + len(told), number + 1


def write(folder: Path, questions: int, seed: int = 0) -> Path:
    """The whole data set: ``questions`` to train on, 1,000 to validate and to test, or a fifth of
    them where that is less. Returns its YAML file."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    held_out = min(1000, questions // 5)
    for split, count in {"train": questions, "validation": held_out, "test": held_out}.items():
        rows = list(records(split, count, seed, folder / "pictures"))
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, rows[0])
            table.writeheader()
            table.writerows(rows)
    path = folder / "stickers.yaml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the data set into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=10_000, help="of the training split")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(write(chosen.folder, chosen.questions, chosen.seed))

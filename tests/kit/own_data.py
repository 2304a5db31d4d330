"""A tiny third-party data set: one coloured square a picture, of two shapes of picture."""

import csv
from pathlib import Path

from PIL import Image, ImageDraw

PAINTS = {"scarlet": (215, 40, 40), "azure": (50, 110, 235), "lime": (60, 190, 60)}
DESCRIPTION = """\
name: tiles
task: floor
answer_type: text
splits: {train: train.csv, validation: validation.csv}
images: pictures
columns: {id: key, image: file, question: asked, answer: said, family: kind, cot: why}
prompt: "{question}"
licence: CC0-1.0
"""


def write_tiles(folder: Path, pictures: int = 12, description: str = DESCRIPTION) -> Path:
    """Two questions a picture, the second with a chain; returns the YAML file."""
    (folder / "pictures").mkdir(parents=True)
    for split in ("train", "validation"):
        rows = []
        for number in range(pictures):
            paint = list(PAINTS)[number % 3]
            wide = number % 4 == 0
            size = (96, 48) if wide else (64, 64)
            image = Image.new("RGB", size, (240, 235, 225))
            left = 4 + number % 20
            ImageDraw.Draw(image).rectangle((left, 12, left + 20, 32), fill=PAINTS[paint])
            name = f"{split}{number}.png"
            image.save(folder / "pictures" / name)
            for kind, asked, said, why in (
                ("paint", "Name the paint of the tile.", paint, ""),
                (
                    "wide",
                    "Is the floor wide?",
                    "yes" if wide else "no",
                    f"It is {size[0]}.",
                ),
            ):
                rows.append((f"{number}-{kind}", name, kind, asked, said, why))
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("key", "file", "kind", "asked", "said", "why"))
            table.writerows(rows)
    path = folder / "tiles.yaml"
    path.write_text(description, encoding="utf-8")
    return path

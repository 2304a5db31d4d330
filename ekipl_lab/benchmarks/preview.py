"""Contact sheets: samples as one picture, each with its question and answer, for a person to check.

Small images are enlarged by a whole factor without smoothing, so that the page shows the pixels
that a policy gets.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import replacing
from ekipl_lab.images import to_rgb
from ekipl_lab.types import Sample

_GAP, _LINE, _MIN_SIDE = 8, 15, 168


def write_contact_sheet(samples: Sequence[Sample], path: str | Path, columns: int = 4) -> Path:
    """Writes the `contact_sheet` as a PNG and returns its path; ConfigError as there."""
    sheet = contact_sheet(samples, columns)
    try:
        with replacing(Path(path)) as temporary:
            sheet.save(temporary, format="PNG")
    except OSError as error:
        raise ConfigError(
            f"The sheet cannot be written to {str(path)!r} ({error.strerror}); name a PNG file."
        ) from error
    return Path(path)


def contact_sheet(samples: Sequence[Sample], columns: int = 4) -> Image.Image:
    """The samples as one picture, ``columns`` to a row.

    Under the image(s) stand family, difficulty, split, question and answer. Raises ConfigError if
    there is nothing to show or ``columns`` is below 1.
    """
    if not samples:
        raise ConfigError("There are no samples to preview; raise the limit.")
    if columns < 1:
        raise ConfigError(f"columns is {columns}; it must be 1 or more.")
    cards = [_card(sample) for sample in samples]
    width = max(card.width for card in cards)
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    across = min(columns, len(cards))
    sheet = Image.new("RGB", (across * (width + _GAP), sum(heights) + _GAP * len(rows)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            sheet.paste(card, (column * (width + _GAP), top))
        top += height + _GAP
    return sheet


def _card(sample: Sample) -> Image.Image:
    """One sample: its images side by side, then the text."""
    images = []
    for image in sample.images:
        factor = max(1, -(-_MIN_SIDE // image.width))
        size = (image.width * factor, image.height * factor)
        images.append(to_rgb(image).image.resize(size, Image.Resampling.NEAREST))
    width = max([sum(image.width + _GAP for image in images), 230])
    lines = [f"{sample.family}  difficulty {sample.difficulty}  {sample.split}"]
    lines += textwrap.wrap(f"Q: {sample.question}", max(24, width * 10 // 66))
    lines += textwrap.wrap(f"A: {sample.answer}", max(24, width * 10 // 66))
    top = max((image.height for image in images), default=0)
    card = Image.new("RGB", (width, top + 4 + _LINE * len(lines)), "white")
    left = 0
    for image in images:
        card.paste(image, (left, 0))
        left += image.width + _GAP
    draw = ImageDraw.Draw(card)
    font = ImageFont.load_default(size=12)
    for number, line in enumerate(lines):
        draw.text((2, top + 2 + number * _LINE), line, fill="black", font=font)
    return card

"""Your own data: a folder or hub data set, described by a small YAML file (``docs/data.md``).

The path of the YAML file is the benchmark's name: ``load_samples("fruit/data.yaml", ...)``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ekipl_lab.benchmarks.base import Benchmark, Request, ordered, text_fault
from ekipl_lab.benchmarks.choices import MOST_CHOICES, choice_lines, without_letters
from ekipl_lab.benchmarks.image_files import ImageFiles
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.benchmarks.tables import Row, hub_rows, read_rows
from ekipl_lab.errors import ConfigError, DataError, unknown_name
from ekipl_lab.images import image_size
from ekipl_lab.types import Sample
from ekipl_lab.validation import LARGEST, Section, complaint, load_yaml

#: ``{name}`` in a prompt; what LaTeX has in braces, as ``\boxed{answer}``, is none.
_PLACEHOLDER = re.compile(r"(?<![A-Za-z}])\{\s*(?:[A-Za-z_]\w*\s*|question\b[^{}]*)\}")
#: Answer types whose numbers are places in a picture.
GROUNDING = ("box", "boxes", "point")
AnswerType = Literal[
    "number", "numbers", "letter", "text", "calls", "math", "box", "boxes", "point"
]


class Columns(Section):
    """Which column holds what; ``id`` defaults to the position of the record."""

    image: str
    question: str
    answer: str
    id: str | None = None
    choices: str | None = None
    cot: str | None = None
    family: str | None = None
    difficulty: str | None = None


class OwnData(Section):
    """The YAML file. ``splits`` maps a split to a file (beside it) or to a split of ``hub``.

    ``coordinates``: what the numbers of a box or point are; ``iou``: how much a box must overlap.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    task: str
    answer_type: AnswerType
    columns: Columns
    splits: dict[str, str] = Field(min_length=1)
    hub: str | None = None
    images: str = "."
    prompt: str | None = None
    tolerance: float = Field(default=0.0, ge=0.0)
    unit: str = ""
    iou: float = Field(default=0.5, gt=0.0, le=1.0)
    coordinates: Literal["thousandths", "pixels"] = "thousandths"
    licence: str = "not stated"


def is_own(name: str) -> bool:
    """Whether a benchmark's name is the path of a YAML file."""
    return name.endswith((".yaml", ".yml"))


def own_benchmark(path: str) -> Benchmark:
    """The benchmark that a YAML file describes; ConfigError for what is wrong with the file."""
    data = read_description(path)
    return Benchmark(
        name=data.name,
        source=data.hub or path,
        licence=data.licence,
        tasks=(data.task,),
        sizes={},
        iterate=partial(iterate_own, data, Path(path).parent),
    )


def read_description(path: str | Path) -> OwnData:
    """The checked YAML file; unknown settings are refused with the nearest name."""
    raw = load_yaml(Path(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings such as `name: fruit`.")
    _known_names(path, "setting", raw, OwnData)
    if isinstance(raw.get("columns"), dict):
        _known_names(path, "column", raw["columns"], Columns)
    try:
        data = OwnData.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {complaint(first, field)}.") from error
    for split in data.splits:
        if split not in SPLITS:
            raise unknown_name(f"split in {path}", split, SPLITS)
    for name in _PLACEHOLDER.findall(data.prompt or ""):
        if name != "{question}":
            raise unknown_name(f"placeholder in {path}: prompt", name, ("{question}",))
    if data.prompt is not None and "{question}" not in data.prompt:
        raise ConfigError(f"{path}: prompt must hold {{question}} where the question goes.")
    return data


def _known_names(path: str | Path, kind: str, raw: Row, model: type[BaseModel]) -> None:
    for name in raw:
        if name not in model.model_fields:
            raise unknown_name(f"{kind} in {path}:", str(name), model.model_fields)


def iterate_own(data: OwnData, folder: Path, request: Request) -> Iterator[Sample]:
    """Samples in the order that ``base.ordered`` says.

    All records are checked first: DataError names file, record and column of the first broken one,
    unless ``request.on_bad`` hears of it.
    """
    split = request.split
    if request.task != data.task:
        raise unknown_name(f"task of benchmark {data.name!r}", request.task, (data.task,))
    if split not in data.splits:
        raise unknown_name(f"split of benchmark {data.name!r}", split, data.splits)
    samples: dict[str, Sample] = {}
    named = data.splits[split]
    for index, row in enumerate(
        read_rows(folder / named) if data.hub is None else hub_rows(data.hub, named)
    ):
        where = f"{data.hub or named}, record {index}"
        try:
            sample = _sample(data, folder, split, row, index, request.image_size, where)
            if sample.id in samples:
                raise DataError(f"{where}, column {data.columns.id!r}: the id occurs twice.")
        except DataError as error:
            if request.on_bad is None:
                raise
            request.on_bad(str(error))
            continue
        samples[sample.id] = sample
    if not samples and request.on_bad is None:
        raise DataError(f"{data.hub or named}: no record in it; a table's first line is its head.")
    found = [
        sample
        for sample in samples.values()
        if (request.families is None or sample.family in request.families)
        and (request.difficulties is None or sample.difficulty in request.difficulties)
    ]
    if not found:
        raise DataError(f"Benchmark {data.name!r} has no samples of {split} that were asked for.")
    return iter(ordered(found, request, lambda sample: sample.family))


def _sample(
    data: OwnData, folder: Path, split: str, row: Any, index: int, size: int | None, where: str
) -> Sample:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: not a record with columns.")
    columns = data.columns
    images: Any = ImageFiles(_images(row, columns.image, folder / data.images, where), size)
    question = _text(row, columns.question, where, len(images))
    choices = () if columns.choices is None else _choices(row, columns.choices, where)
    if data.prompt is not None:
        lines = choice_lines(data.prompt + question, choices)
        asked = question + lines + ("\n" if lines else "")
        question = data.prompt.replace("{question}", asked).strip()
        if fault := text_fault(question, len(images)):
            raise DataError(f"{where}, its prompt: {fault}.")
    record_id = str(index) if columns.id is None else _text(row, columns.id, where)
    answer = _answer(data, _text(row, columns.answer, where), images, where)
    if data.answer_type == "letter":
        _check_letter(question, choices, answer, where)
    return Sample(
        id=f"{data.name}/{data.task}/{split}/{record_id}",
        task=data.task,
        split=split,
        images=images,
        question=question,
        answer=answer,
        answer_type=data.answer_type,
        family="" if columns.family is None else _text(row, columns.family, where),
        choices=choices,
        cot=_text(row, columns.cot, where) if columns.cot and _given(row, columns.cot) else None,
        difficulty=0 if columns.difficulty is None else _whole(row, columns.difficulty, where),
        metadata={
            "benchmark": data.name,
            "bare_prompt": data.prompt is not None,
            "tolerance": data.tolerance,
            "unit": data.unit,
            **({"iou": data.iou} if data.answer_type in GROUNDING else {}),
        },
    )


def _answer(data: OwnData, text: str, images: ImageFiles, where: str) -> str:
    """The answer; one in pixels as thousandths of the picture's width and height."""
    if data.answer_type not in GROUNDING or data.coordinates == "thousandths":
        return text
    if len(images) != 1:
        raise DataError(f"{where}: pixels of which of {len(images)} images? Give thousandths.")
    try:
        size = image_size(images.sources[0])
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    sides = itertools.cycle(size)
    return re.sub(
        r"-?\d+(?:\.\d+)?", lambda found: f"{1000 * float(found[0]) / next(sides):.0f}", text
    )


def _value(row: Row, column: str, where: str) -> Any:
    if column not in row:
        raise DataError(f"{where}: there is no column {column!r}; fix `columns`.")
    if not _given(row, column) and row[column] != 0:
        raise DataError(f"{where}, column {column!r}: empty.")
    return row[column]


def _given(row: Row, column: str) -> bool:
    """Whether the field holds something: what pandas writes for nothing is not a number."""
    value = row.get(column)
    return bool(value) and value == value


def _text(row: Row, column: str, where: str, images: int = 0) -> str:
    value = _value(row, column, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}, column {column!r}: a {type(value).__name__}, not a text.")
    if isinstance(value, float) and math.isinf(value):
        raise DataError(f"{where}, column {column!r}: an infinite number.")
    if not str(value).strip():
        raise DataError(f"{where}, column {column!r}: empty.")
    if fault := text_fault(str(value), images):
        raise DataError(f"{where}, column {column!r}: {fault}.")
    return str(value).strip()


def _whole(row: Row, column: str, where: str) -> int:
    try:
        number = int(_text(row, column, where))
    except ValueError:
        number = LARGEST
    if abs(number) >= LARGEST:
        raise DataError(f"{where}, column {column!r}: not a whole number below 2^63.")
    return number


def _choices(row: Row, column: str, where: str) -> tuple[str, ...]:
    value = _value(row, column, where)
    if isinstance(value, str):
        value = [part.strip() for part in value.split("|")]
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_CHOICES:
        raise DataError(f"{where}, column {column!r}: no list of two to {MOST_CHOICES} choices.")
    if not all(_is_choice(part) for part in value):
        raise DataError(f"{where}, column {column!r}: a choice is empty or no text.")
    if fault := text_fault("".join(map(str, value)), 0):
        raise DataError(f"{where}, column {column!r}: {fault}.")
    return without_letters([str(part) for part in value])


def _check_letter(question: str, choices: Sequence[str], answer: str, where: str) -> None:
    """Raise DataError where a letter stands for no choice that a model sees, or for two."""
    texts = [" ".join(choice.split()) for choice in choices]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: the choice {twice!r} stands twice; which letter is right?")
    letter = next(iter(re.findall("[A-Za-z]", answer)), "")
    named = rf"(?<!\w)(?:{letter.upper()}|{letter.lower()}[).:])(?!\w)"
    if letter and not choices and not re.search(named, question):
        raise DataError(
            f"{where}: the answer is the letter {answer!r}, and there are no choices; name their "
            "column in `columns`, or say in the question or `prompt` which letters there are."
        )


def _is_choice(value: Any) -> bool:
    return isinstance(value, str | int | float) and value == value and str(value).strip() != ""


def _images(row: Row, column: str, folder: Path, where: str) -> tuple[Path | bytes, ...]:
    value = _value(row, column, where)
    entries = value if isinstance(value, list) else [value]
    return tuple(_image(entry, folder, f"{where}, column {column!r}") for entry in entries)


def _image(entry: Any, folder: Path, where: str) -> Path | bytes:
    if isinstance(entry, Mapping):
        entry = entry.get("bytes") or entry.get("path")
    if isinstance(entry, bytes):
        return entry
    if not isinstance(entry, str) or not entry:
        raise DataError(f"{where}: neither a path nor the bytes of an image.")
    base = folder.resolve()
    try:
        path = (base / entry).resolve()
        found = path.is_file()
    except (OSError, ValueError) as error:  # too long, a NUL, half a character
        raise DataError(f"{where}: {entry[:80]!r} is no path ({error}).") from error
    if not path.is_relative_to(base):
        raise DataError(f"{where}: {entry!r} leads out of {folder}.")
    if not found:
        raise DataError(f"{where}: {entry!r} does not exist under {folder}.")
    return path

"""Your own data: a folder or hub data set, described by a small YAML file (``docs/data.md``).

The path of the YAML file is the benchmark's name: ``load_samples("fruit/data.yaml", ...)``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ekipl_lab.benchmarks.base import Benchmark, Request, ordered, text_fault
from ekipl_lab.benchmarks.choices import choice_lines
from ekipl_lab.benchmarks.fields import choices_of, images_of, is_given, text_of, whole_of
from ekipl_lab.benchmarks.image_files import ImageFiles
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.benchmarks.tables import Row, hub_rows, read_rows
from ekipl_lab.errors import ConfigError, DataError, unknown_name
from ekipl_lab.images import image_size
from ekipl_lab.types import Sample
from ekipl_lab.validation import Section, complaint, load_yaml

#: ``{name}`` in a prompt; what LaTeX has in braces, as ``\boxed{answer}``, is none.
_PLACEHOLDER = re.compile(r"(?<![A-Za-z}])\{\s*(?:[A-Za-z_]\w*\s*|question\b[^{}]*)\}")
#: Answer types whose numbers are places in a picture.
GROUNDING = ("box", "boxes", "point")
AnswerType = Literal[
    "number", "numbers", "letter", "text", "calls", "math", "box", "boxes", "point"
]


#: Settings that only some answer types read.
_READ_BY: dict[str, tuple[str, ...]] = {
    "tolerance": ("number", "math", "point"),
    "unit": ("number", "math"),
    "iou": ("box", "boxes"),
    "coordinates": GROUNDING,
}


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
    for name, types in _READ_BY.items():
        default = OwnData.model_fields[name].default
        if data.answer_type not in types and getattr(data, name) != default:
            raise ConfigError(
                f"{path}: {name} means nothing for answer_type {data.answer_type} (it is for "
                f"{', '.join(types)}); leave it out."
            )
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
    images: Any = ImageFiles(images_of(row, columns.image, folder / data.images, where), size)
    question = text_of(row, columns.question, where, len(images))
    choices = () if columns.choices is None else choices_of(row, columns.choices, where)
    if data.prompt is not None:
        lines = choice_lines(data.prompt + question, choices)
        asked = question + lines + ("\n" if lines else "")
        question = data.prompt.replace("{question}", asked).strip()
        if fault := text_fault(question, len(images)):
            raise DataError(f"{where}, its prompt: {fault}.")
    record_id = str(index) if columns.id is None else text_of(row, columns.id, where)
    answer = _answer(data, text_of(row, columns.answer, where), images, where)
    if data.answer_type == "letter":
        _check_letter(question, choices, answer, where)
    cot = columns.cot if columns.cot and is_given(row, columns.cot) else None
    return Sample(
        id=f"{data.name}/{data.task}/{split}/{record_id}",
        task=data.task,
        split=split,
        images=images,
        question=question,
        answer=answer,
        answer_type=data.answer_type,
        family="" if columns.family is None else text_of(row, columns.family, where),
        choices=choices,
        cot=None if cot is None else text_of(row, cot, where),
        difficulty=0 if columns.difficulty is None else whole_of(row, columns.difficulty, where),
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
    if data.answer_type not in GROUNDING:
        return text
    if data.coordinates == "thousandths":
        return _in_frame(text, where)
    if len(images) != 1:
        raise DataError(f"{where}: pixels of which of {len(images)} images? Give thousandths.")
    try:
        size = image_size(images.sources[0])
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    sides = itertools.cycle(size)
    return _in_frame(
        _PLACE.sub(lambda found: f"{1000 * float(found[0]) / next(sides):.0f}", text), where
    )


_PLACE = re.compile(r"-?\d+(?:\.\d+)?")


def _in_frame(text: str, where: str) -> str:
    """The text; DataError if its places, in thousandths, lie outside the picture, or all within
    a thousandth of its corner, as fractions of its sides do."""
    places = [float(place) for place in _PLACE.findall(text)]
    if any(not 0 <= place <= 1000 for place in places):
        raise DataError(
            f"{where}: {text!r} lies outside the picture, whose thousandths go from 0 to 1000; "
            "correct it, or set `coordinates: pixels` if they are pixels."
        )
    if places and max(places) <= 1 and any(place % 1 for place in places):
        raise DataError(f"{where}: {text!r} are fractions, not thousandths; multiply by 1000.")
    return text


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

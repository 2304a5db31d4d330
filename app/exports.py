"""What leaves the app: pages as one file, chains and votes as data sets."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from app import html, judging, runs, views, votes
from ekipl_lab.errors import ConfigError, DataError, EKIPLError
from ekipl_lab.images import IMAGE_MARK, png_base64
from ekipl_lab.parsing import parse_completion
from ekipl_lab.prompts import content_of
from ekipl_lab.types import Sample

_STYLES = [Path(__file__).parent / "static" / name for name in ("style.css", "compare.css")]
#: Our own links lead nowhere outside of the app; texts of others hold no "<", so this is ours.
_LINK = re.compile(r'(<a\b[^>]*?) href="(?:\?|export/)[^"]*"')
#: Most pages in one file.
MAX_PAGES = 50


def bundle(addresses: Sequence[str]) -> str:
    """The pages of some addresses (with or without ``http://.../?``) as one HTML file.

    It loads nothing and runs no script. Raises the view's own error for what cannot be shown, and
    ConfigError for no address or too many.
    """
    if not 0 < len(addresses) <= MAX_PAGES:
        raise ConfigError(f"A bundle has 1 to {MAX_PAGES} addresses; got {len(addresses)}.")
    pages = []
    for address in addresses:
        query = address.partition("?")[2] or address.rpartition("/")[2]
        name, state = views.find(views.parse(query))
        *_, whole = views.VIEWS[name].show(state)
        pages.append((f"{views.VIEWS[name].title}: {query}", _LINK.sub(r"\1", whole)))
    style = "\n".join(path.read_text(encoding="utf-8") for path in _STYLES)
    return html.render_bundle(pages, style)


def chain_rows(run: str) -> Iterator[dict[str, Any]]:
    """Every greedy chain of a run's stored evaluations, with its pictures and its verdict.

    Raises DataError for a run without evaluations, or a sample that cannot be drawn again.
    """
    runs.require_run(run)
    if not (names := judging.stored(run)):
        raise DataError(f"Run {run!r} has no stored evaluation, so there are no chains to export.")
    samples: dict[str, Sample] = {}
    for name in names:
        for record in judging.records_of(f"{run}/{name}").values():
            sample = samples.setdefault(record.sample_id, judging.sample_of(run, record.sample_id))
            action, reward = record.actions[0], record.rewards[0]
            parsed = parse_completion(action.completion)
            yield {
                "images": pictures(sample),
                "sample_id": record.sample_id,
                "family": record.family,
                "difficulty": record.difficulty,
                "question": sample.question,
                "truth": sample.answer,
                "run": run,
                "set": name.rpartition("/")[0],
                "step": int(name.rpartition("/")[2]),
                "completion": action.completion,
                "reasoning": parsed.think,
                "answer": parsed.answer,
                "right": reward.success,
                "reward": reward.total,
            }


def preference_rows() -> list[dict[str, Any]]:
    """The votes as rows for DPO, with pictures."""
    return _with_pictures(judging.preferences(votes.read()))


def correction_rows() -> list[dict[str, Any]]:
    """The corrected chains as rows for SFT, with pictures."""
    return _with_pictures(judging.corrections(votes.read()))


def as_parquet(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file with pictures, which ``load_dataset("parquet", ...)`` reads.

    Raises DataError where there are none.
    """
    found = list(rows)
    if not found:
        raise DataError("There is nothing to export yet: no pair has a majority, or no correction.")
    from datasets import Dataset, Features, Image, List, Value

    kinds = {"difficulty": "int64", "step": "int64", "right": "bool", "reward": "float64"}
    features: dict[str, Any] = {name: Value(kinds.get(name, "string")) for name in found[0]}
    for name in {"prompt", "chosen", "rejected", "completion"} & _chats(found):
        plain = isinstance(found[0][name][0]["content"], str)
        content = Value("string") if plain else [{k: Value("string") for k in ("type", "text")}]
        features[name] = [{"role": Value("string"), "content": content}]
    features["images"] = List(Image())
    stream = io.BytesIO()
    Dataset.from_list(found, features=Features(features)).to_parquet(stream)
    return stream.getvalue()


def pictures(sample: Sample) -> list[dict[str, Any]]:
    """A sample's images as the ``Image`` feature of ``datasets`` takes them."""
    return [{"bytes": base64.b64decode(png_base64(i)), "path": None} for i in sample.images]


def _chats(rows: Sequence[dict[str, Any]]) -> set[str]:
    return {name for name, value in rows[0].items() if isinstance(value, list)}


def _with_pictures(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their pictures; where a prompt names the places of its own, all are in parts.

    (A prompt that is one text has its pictures in front of it.)
    """
    found = [(row, _sample(row)) for row in rows]
    placed = any(IMAGE_MARK in row["prompt"][0]["content"] for row, _ in found)
    return [
        {"images": pictures(sample), **row}
        | ({"prompt": _in_parts(row["prompt"][0], sample)} if placed else {})
        for row, sample in found
    ]


def _in_parts(turn: dict[str, str], sample: Sample) -> list[dict[str, Any]]:
    return [{**turn, "content": [{"text": None, **p} for p in content_of(sample, turn["content"])]}]


def _sample(row: dict[str, Any]) -> Sample:
    """The sample of a vote; DataError that names the vote where it cannot be had."""
    try:
        return judging.sample_of(row["source"], row["sample_id"])
    except EKIPLError as error:
        raise DataError(
            f"A vote on {row['sample_id']} cannot be exported: {error} Bring that back, or take "
            f"the votes on {row['source'].partition('/')[0]} out of {votes.votes_file().name}."
        ) from error

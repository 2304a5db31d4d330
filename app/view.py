"""A group as a page: plain values first (also what the API gives), then HTML.

Every text that a model made passes jinja2's autoescape; nothing here is Markdown, and the HTML is
handed to ``gr.HTML`` as a value, never as a template (a template would evaluate ``${...}``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL.Image import Image, Resampling

from app.chains import Check, read_chain
from app.why import explain_candidate, explain_spread, pool_order
from ekipl_lab.plots import figures as plots
from ekipl_lab.types import POLICY, Action, ActionGroup, Sample

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["dollars"] = lambda amount: dollars(amount)
#: Longest completion shown as a card; the raw view says how much was cut.
MAX_SHOWN = 8_000


@dataclass(frozen=True, slots=True)
class Criterion:
    """One component of a reward."""

    name: str
    value: float | None
    weight: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One action of the pool, ready to be shown. ``number`` counts from 1 in pool order."""

    number: int
    source: str
    model_id: str
    is_policy: bool
    color: str
    sentences: tuple[str, ...]
    check: Check | None
    answer: str | None
    problem: str
    success: bool | None
    criteria: tuple[Criterion, ...]
    total: float | None
    explanation: str
    kept: bool
    why: str
    place: int
    advantage: float | None
    finish_reason: str
    num_tokens: int | None
    price: float
    is_cached: bool
    raw: str
    raw_length: int


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source gave: candidates, right ones, kept ones, their price in USD."""

    source: str
    color: str
    candidates: int
    right: int
    kept: int
    price: float


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group in words and numbers."""

    sample_id: str
    task: str
    split: str
    family: str
    difficulty: int
    question: str
    answer: str
    rule: str
    spread: str
    candidates: tuple[Candidate, ...]
    sources: tuple[SourceSummary, ...]
    order: tuple[int, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values for API clients."""
        return asdict(self)


def describe_group(group: ActionGroup) -> GroupView:
    """Everything the page says about a group."""
    colours = plots.source_colours(action.source for action in group.candidates)
    candidates = tuple(_describe(group, i, colours) for i in range(len(group.candidates)))
    sample = group.sample
    return GroupView(
        sample_id=sample.id,
        task=sample.task,
        split=sample.split,
        family=sample.family,
        difficulty=sample.difficulty,
        question=sample.question,
        answer=sample.answer,
        rule=group.rule,
        spread=explain_spread(group),
        candidates=candidates,
        sources=_sources(candidates),
        order=tuple(index + 1 for index in pool_order(group)),
    )


def _describe(group: ActionGroup, index: int, colours: Mapping[str, str]) -> Candidate:
    action, reward = group.candidates[index], group.rewards[index]
    chain = read_chain(group.sample, action.completion)
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    return Candidate(
        number=index + 1,
        source=action.source,
        model_id=action.model_id,
        is_policy=action.source == POLICY,
        color=colours[action.source],
        sentences=chain.sentences,
        check=chain.check,
        answer=chain.answer,
        problem=chain.problem,
        success=reward.success,
        criteria=tuple(
            Criterion(name, value, reward.weights.get(name, 0.0))
            for name, value in reward.components.items()
        ),
        total=reward.total,
        explanation=reward.explanation,
        kept=index in advantages,
        why=explain_candidate(group, index),
        place=pool_order(group).index(index) + 1,
        advantage=advantages.get(index),
        finish_reason=action.finish_reason,
        num_tokens=_num_tokens(action),
        price=action.usage.cost if action.usage else 0.0,
        is_cached=action.usage is not None and action.usage.cached,
        raw=action.completion[:MAX_SHOWN],
        raw_length=len(action.completion),
    )


def _num_tokens(action: Action) -> int | None:
    """Tokens written; by the server's own count where the tokens themselves are not known."""
    if action.token_ids is not None:
        return len(action.token_ids)
    return (action.usage.completion_tokens or None) if action.usage else None


def dollars(amount: float) -> str:
    """``0.00045 USD``: no figure that a price needs is rounded away, and no exponent."""
    return f"{amount:.6f}".rstrip("0").rstrip(".") + " USD"


def _sources(candidates: Sequence[Candidate]) -> tuple[SourceSummary, ...]:
    names = dict.fromkeys(c.source for c in candidates)
    return tuple(
        SourceSummary(
            name,
            own[0].color,
            len(own),
            sum(c.success is True for c in own),
            sum(c.kept for c in own),
            sum(c.price for c in own),
        )
        for name in names
        for own in [[c for c in candidates if c.source == name]]
    )


def data_uri(image: Image) -> str:
    """The image as a PNG inside a data URI, so that no file is ever served."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def render_page(
    sample: Sample,
    large: Sequence[Image] = (),
    group: GroupView | None = None,
    *,
    note: str = "",
    message: str = "",
    live_query: str = "",
) -> str:
    """HTML of the stage: image(s), question and answer; then the group, or a message for it.

    ``large`` are the same scenes drawn for a person; without them the model's own pixels are
    enlarged. ``message`` is HTML of ``render_message``; ``live_query`` the address of the same
    item sampled now.
    """
    below = _render("pool.html", group=group, ranked=_ranked(group), note=note) if group else ""
    drawn = [*large, *sample.images[len(large) :]]
    pairs = [_picture(image, fine) for image, fine in zip(sample.images, drawn, strict=True)]
    head = _render(
        "sample.html",
        sample=sample,
        pairs=pairs,
        labels=("before", "after") if len(pairs) == 2 else ("",) * len(pairs),
        cells=_cells(sample),
        below=Markup(below or message),
        live_query=live_query,
    )
    return head + (_render("group.html", group=group, columns=_columns(group)) if group else "")


def render_message(title: str, text: str, command: str = "") -> str:
    """HTML of one friendly or one warning sentence, and what to type."""
    return _render("message.html", title=title, text=text, command=command)


def _render(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(**values)


def _columns(group: GroupView) -> list[tuple[str, list[Candidate]]]:
    return [
        ("Policy", [c for c in group.candidates if c.is_policy]),
        ("Teachers", [c for c in group.candidates if not c.is_policy]),
    ]


def _ranked(group: GroupView) -> list[Candidate]:
    return [group.candidates[number - 1] for number in group.order]


def _picture(image: Image, large: Image) -> dict[str, Any]:
    return {
        "shown": data_uri(_fit(large)),
        "seen": data_uri(_fit(image)),
        "size": f"{image.width} × {image.height}",
        "redrawn": large.size != image.size,
    }


def _fit(image: Image, limit: int = 1024) -> Image:
    """Very large images smaller, so that a page stays light; small ones as they are."""
    if max(image.size) <= limit:
        return image
    copy = image.copy()
    copy.thumbnail((limit, limit), Resampling.LANCZOS)
    return copy


def _cells(sample: Sample) -> tuple[str, ...]:
    """Names of the 4 x 4 cells that chains of the counting task speak of, row by row."""
    is_grid = sample.metadata.get("benchmark") == "mini" and sample.task == "counting"
    return tuple(f"p{n}" for n in range(1, 17)) if is_grid else ()

"""Which of two chains is better? Blind votes on what two stored evaluations wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import chains, curves, html, items, judging, runs, samples, votes
from app.notation import explain_notation
from app.views.base import Properties, View, options
from ekipl_lab.errors import EKIPLError
from ekipl_lab.parsing import parse_completion

if TYPE_CHECKING:
    from app.ui import Ui

#: Button -> what it says; its number is its key.
BUTTONS = {
    "left": "Left is better (1)",
    "right": "Right is better (2)",
    "tie": "Equally good (3)",
    "both_wrong": "Both are bad (4)",
}
TAG_FIELDS = ("tags_left", "tags_right")
#: What went wrong with the last vote -> in words.
PROBLEMS = {
    "rater": f"Write your name (1 to {votes.MAX_NAME} characters) before you vote.",
    "vote": "That vote was not kept: a text is too long or holds a secret, nothing is compared, or "
    "the two evaluations were asked different questions.",
}


@dataclass(frozen=True, slots=True)
class State:
    """Two evaluations, ``set/step`` of two runs, who votes, the pair's number from 1, the draft.

    Tags are parted by commas; ``problem`` is a key of ``PROBLEMS``.
    """

    run: str = ""
    of: str = ""
    against: str = ""
    of_b: str = ""
    rater: str = ""
    pair: int = 1
    tags_left: str = ""
    tags_right: str = ""
    reason: str = ""
    corrected: str = ""
    problem: str = ""


def build(ui: Ui) -> None:
    """Who votes, the vote, what is compared."""
    ui.text("rater", "Your name", longest=votes.MAX_NAME)
    for side in ("left", "right"):
        ui.checks(
            f"tags_{side}", f"Wrong at the {side}", [(w, tag) for tag, w in votes.TAGS.items()]
        )
    ui.text("reason", "Why (as you like)", lines=2, longest=votes.MAX_TEXT)
    ui.text("corrected", "The chain as it should be", lines=3, longest=votes.MAX_TEXT)
    for name, words in BUTTONS.items():
        ui.button(name, words, primary=name in ("left", "right"))
    ui.arrows()
    ui.heading("What is compared")
    ui.choice("run", "Run A")
    ui.choice("of", "Evaluation of A")
    ui.choice("against", "Run B")
    ui.choice("of_b", "Evaluation of B")


def complete(state: State) -> State:
    """The latest run's last evaluation against another run's of its experiment, else its start."""
    run = state.run or next((id for _, id in runs.choices() if judging.stored(id)), "")
    own = judging.stored(run)
    of = state.of or (own[-1] if own else "")
    others = [id for id in curves.siblings(run) if of in judging.stored(id)]
    against = state.against or (others[0] if others else run)
    theirs = judging.stored(against)
    of_b = state.of_b or (of if against != run and of in theirs else theirs[0] if theirs else "")
    return replace(state, run=run, of=of, against=against, of_b=of_b, pair=max(1, state.pair))


def load(state: State) -> Properties:
    """The evaluations of both runs; the fields of the vote begin empty."""
    return {
        "run": options(runs.choices(), state.run),
        "of": options(_evaluations(state.run), state.of),
        "against": options(runs.choices(), state.against),
        "of_b": options(_evaluations(state.against), state.of_b),
        "rater": {"value": state.rater},
        "reason": {"value": state.reason},
        "corrected": {"value": state.corrected},
        "tags_left": {"value": _tags(state.tags_left)},
        "tags_right": {"value": _tags(state.tags_right)},
    }


def _evaluations(run: str) -> list[tuple[str, str]]:
    return [(judging.label(of), of) for of in judging.stored(run)]


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """Keep a vote and go on to the next pair that this rater has not seen.

    Another pair, rater or evaluation begins with an empty draft.
    """
    before, state = state, replace(state, **_given(state, values), problem="")
    if action in ("run", "of", "against", "of_b"):
        state = replace(
            _without_draft(state),
            of="" if action == "run" else state.of,
            of_b="" if action == "against" else state.of_b,
            pair=1,
        )
        return complete(state)
    if action in BUTTONS:
        return _voted(action, state)
    if state.rater != before.rater:
        return replace(_without_draft(state), pair=_unseen(state, 0))
    shift = {"previous": -1, "next": 1}.get(action, 0)
    moved = replace(state, pair=min(max(1, state.pair + shift), len(_safe_pairs(state)) + 1))
    return _without_draft(moved) if shift else moved


def _given(state: State, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the controls say, as it stands in the address."""
    given = {}
    for name in ("run", "of", "against", "of_b", "rater", "reason", "corrected", *TAG_FIELDS):
        value = values.get(name, getattr(state, name))
        value = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        given[name] = value.strip()[: votes.MAX_TEXT]
    return given


def _voted(side: str, state: State) -> State:
    if not state.rater:
        return replace(state, problem="rater")
    try:
        pair = _pairs(state)[state.pair - 1]
        tags = (_tags(state.tags_left), _tags(state.tags_right))
        judging.vote(
            *(pair.source_a, pair.source_b, state.rater, pair.sample_id),
            *(side, state.reason, tags, state.corrected),
        )
    except (EKIPLError, IndexError):
        return replace(state, problem="vote")
    return replace(_without_draft(state), pair=_unseen(state, state.pair))


def _unseen(state: State, after: int) -> int:
    """The number of the first pair behind ``after`` that the rater has not voted on.

    Where all are done: the number behind the last.
    """
    seen, found = judging.voted(state.rater), _safe_pairs(state)
    order = [*range(after, len(found)), *range(min(after, len(found)))]
    return next((n + 1 for n in order if found[n].key not in seen), len(found) + 1)


def _without_draft(state: State) -> State:
    return replace(state, tags_left="", tags_right="", reason="", corrected="")


def _tags(text: str) -> list[str]:
    return [tag for tag in text.split(",") if tag in votes.TAGS]


def _safe_pairs(state: State) -> list[judging.Pair]:
    try:
        return _pairs(state)
    except EKIPLError:
        return []


def _pairs(state: State) -> list[judging.Pair]:
    return judging.pairs(f"{state.run}/{state.of}", f"{state.against}/{state.of_b}", state.rater)


def show(state: State) -> Iterator[str]:
    """The sample, both chains side by side without their names, and the results folded away."""
    if not state.run:
        yield html.render_message("Nothing to judge yet", "No run has a stored evaluation.")
        return
    found = _pairs(state)
    problem = PROBLEMS.get(state.problem, "")
    if not found:
        yield html.render_message("Nothing to judge", "Both evaluations wrote the same chains.")
        return
    if state.pair > len(found):
        end = f"These two evaluations differ on {len(found)} samples."
        yield html.render_message("That was the last pair", end) + _results(state)
        return
    pair = found[state.pair - 1]
    sample, why = samples.opened(judging.sample_of(pair.source_a, pair.sample_id))
    seen = judging.voted(state.rater)
    done = sum(one.key in seen for one in found)
    sides = [
        {
            "title": title,
            "sentences": chains.split_sentences(parsed.think or ""),
            "answer": parsed.answer,
            "raw": text[: votes.MAX_TEXT],
        }
        for title, text in zip(("Left", "Right"), pair.sides, strict=True)
        for parsed in [parse_completion(text)]
    ]
    word = f"Pair {state.pair} of {len(found)}; you have voted on {done}." if state.rater else ""
    word = word or f"Pair {state.pair} of {len(found)}."
    yield (
        html.render_page(
            sample,
            items.draw_large(sample) if sample.images else (),
            no_picture=why,
            message=html.render_message(problem or "Which chain is better?", word),
        )
        + html.render_notation(explain_notation(sample, pair.sides))
        + html.render_sides(sides, BUTTONS)
        + _results(state)
    )


def _results(state: State) -> str:
    """Win rates, agreement and error tags over all votes of the store."""
    found = votes.read()
    if not found:
        return ""
    names = {choice.id: choice.name for choice in runs.list_runs()}

    def named(source: str) -> str:
        run, _, rest = source.partition("/")
        return f"{names.get(run, run)} {rest}"

    return html.render_results(
        votes.win_rates(found),
        votes.agreement(found),
        {named(source): tags for source, tags in votes.error_tags(found).items()},
        count=len(found),
        named=named,
    )


VIEW = View("Judge", State, build, load, show, act, complete)

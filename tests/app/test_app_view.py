"""The page's values and HTML: nothing that a model wrote may become markup."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

from app import chains, html
from app.completion import MAX_SHOWN
from app.group import describe_group
from ekipl_lab import benchmarks
from ekipl_lab.benchmarks.mini.chains import write_chain
from ekipl_lab.groups.build import build_group
from ekipl_lab.parsing import parse_completion
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, ActionGroup, Sample

HOSTILE = (
    "<think><script>alert(1)</script> **bold** [x](javascript:alert(2)) ${alert(3)} {{value}} "
    '<img src=x onerror="alert(4)"></think><answer><b>7</b></answer>'
)


class Tags(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def sample() -> Sample:
    return benchmarks.load_sample("mini/counting/test/s0/count_pair/000000")


def scored(*completions: tuple[str, str]) -> ActionGroup:
    """A group of (source, completion) pairs with the built-in scorer; G counts policy actions."""
    item = sample()
    actions = [Action(text, source, f"{source}-model") for source, text in completions]
    scorer = get_scorer("ekipl/auto")
    size = sum(action.source == "policy" for action in actions)
    rewards = [scorer(item, action) for action in actions]
    return build_group(item, actions, rewards, group_size=size)


def right_chain() -> str:
    import random

    return write_chain(sample(), style="short", rng=random.Random(0))


def test_hostile_text_stays_text() -> None:
    item = sample()
    group = scored(("policy", HOSTILE), ("<i>teacher</i>", right_chain()))
    page = Tags(html.render_page(item, (), describe_group(group), note="<u>note</u>"))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "u", "iframe", "a", "object"}
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert sources and all(src and src.startswith("data:image/png;base64,") for src in sources)
    assert "<script>alert(1)</script>" in page.text
    assert "**bold**" in page.text and "${alert(3)}" in page.text
    assert "<i>teacher</i>" in page.text and "<u>note</u>" in page.text


def test_a_hostile_question_and_message_stay_text() -> None:
    item = sample()
    odd = Sample("x/<b>1</b>", "<s>task</s>", "test", (), "<script>1</script>?", "<b>2</b>", "text")
    page = Tags(html.render_page(odd))
    assert {"script", "s"}.isdisjoint(tag for tag, _ in page.tags)
    assert "<script>1</script>?" in page.text
    message = Tags(html.render_message("<script>", "<b>no</b>", "<i>"))
    assert [tag for tag, _ in message.tags] == ["section", "h2", "p", "pre"]
    assert item.question not in page.text


def test_describe_group_keeps_numbers_and_reasons() -> None:
    wrong = "<think> cone : none , so 0 . </think><answer>0 0</answer>"
    group = scored(("policy", wrong), ("policy", right_chain()), ("careful", right_chain()))
    shown = describe_group(group)
    first, second, third = shown.candidates
    # totals 1 (format only), 2, 2: the two right ones are kept, alike, so they teach nothing
    assert [c.total for c in shown.candidates] == [1.0, 2.0, 2.0]
    assert [c.kept for c in shown.candidates] == [False, True, True]
    assert [c.place for c in shown.candidates] == [3, 1, 2]
    assert (first.success, second.success) == (False, True)
    assert (second.advantage, first.advantage) == (0.0, None)
    assert shown.order == (2, 3, 1)
    assert [(s.source, s.candidates, s.right, s.kept) for s in shown.sources] == [
        ("policy", 2, 1, 1),
        ("careful", 1, 1, 1),
    ]
    assert "selection starved this group" in shown.spread
    assert third.color != second.color
    assert shown.to_json()["candidates"][0]["criteria"] == (
        {"name": "accuracy", "value": 0.0, "weight": 1.0},
        {"name": "format", "value": 1.0, "weight": 1.0},
    )


def test_false_steps_are_named_and_true_chains_are_clean() -> None:
    import random

    item = sample()
    good = chains.check_steps(item, right_chain())
    assert good is not None
    assert len(good.true_steps) == good.steps > 0
    assert good.false_steps == () and good.answer_supported
    planted = write_chain(item, style="short", fault="wrong_chain", rng=random.Random(0))
    bad = chains.check_steps(item, planted)
    assert bad is not None and bad.false_steps
    assert len(bad.true_steps) == bad.steps - len(bad.false_steps)
    page = html.render_page(item, (), describe_group(scored(("policy", planted))))
    marked = re.findall(r'<mark class="false">(.*?)</mark>', page)
    noted = re.findall(r"✗ (?:not true: )?(.*?)</small>", page)
    told = "; ".join(noted).split("; ")
    for step in bad.false_steps:  # where it stands, or, of a list as a whole, beside it
        in_words = re.sub(" complete$", " not complete", step)
        assert any(step.endswith(part) for part in marked) or in_words in told
    text = Tags(page).text
    sentences = chains.split_sentences(parse_completion(planted).think or "")
    assert all(text.count(sentence) == 1 for sentence in sentences if "p" in sentence)


def test_sentences() -> None:
    assert chains.split_sentences("cone : p1 , so 1 . blue : none , so 0 .") == (
        "cone: p1, so 1",
        "blue: none, so 0",
    )
    assert chains.split_sentences("one\ntwo; three") == ("one", "two;", "three")
    assert chains.split_sentences(" . ") == ()


def test_nothing_checks_a_chain_without_a_scene() -> None:
    foreign = Sample("own/1", "counting", "test", (), "?", "1", "number")
    assert chains.check_steps(foreign, "<think>p1</think><answer>1</answer>") is None
    assert chains.check_steps(sample(), "x" * (chains.MAX_CHECKED + 1)) is None


def test_images_are_shown_whole_and_redrawn() -> None:
    item = sample()
    large = benchmarks.load_sample(item.id, image_size=448).images
    uris = [attrs["src"] for tag, attrs in Tags(html.render_page(item, large)).tags if tag == "img"]
    sizes = [
        Image.open(io.BytesIO(base64.b64decode((uri or "").split(",")[1]))).size for uri in uris
    ]
    assert sizes == [(448, 448), (56, 56)]


def test_megabytes_are_cut_and_said() -> None:
    group = scored(("policy", "z" * 1_000_000))
    page = html.render_page(sample(), (), describe_group(group))
    assert len(page) < 200_000
    assert f"{1_000_000 - MAX_SHOWN} more characters" in page

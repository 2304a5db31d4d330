"""The page: only wiring lives here.

What is shown comes from ``app.views``; everything a model made reaches the browser as escaped HTML
in the *value* of ``gr.HTML``. What the reader does waits in the browser (``static/page.js``), which
sends it in order; the state is the address, and the browser has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from markupsafe import escape

from app import api, html, live, views
from app.state import from_query, to_query
from app.ui import Ui
from app.views import VIEWS
from app.views.base import could_send
from app.wanted import Wanted
from app.words import said
from ekipl_lab.errors import ConfigError, EKIPLError

_STATIC = Path(__file__).parent / "static"
_HEAD = (_STATIC / "head.html").read_text(encoding="utf-8")
_SWITCH = "(view) => { window.ekipl.add({view}); }"
_SEND = "(_, query) => [window.ekipl.take(), query]"
#: Views that sample what they show, piece by piece.
SAMPLED = ("live", "compare")
_DONE = "(answer) => { window.ekipl.done(answer); }"
_FAILED = "() => { window.ekipl.failed(); }"


def look() -> dict[str, Any]:
    """Theme, style and script for ``mount_gradio_app``; fonts of the reader's system only."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Base(
        primary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        text_size="sm",
        font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="#1b1f27",
        button_primary_background_fill_dark="#e8eaee",
        button_primary_background_fill_hover="#333a47",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#171a20",
        button_secondary_background_fill="*background_fill_primary",
        button_secondary_border_color="*border_color_primary",
        input_border_width="1px",
    )
    script = (_STATIC / "page.js").read_text(encoding="utf-8")
    return {
        "theme": theme,
        "css_paths": [_STATIC / name for name in ("style.css", "compare.css")],
        "head": f"<script>{script}</script>",
    }


class Page:
    """Every view's controls at the left, what the chosen view shows at the right."""

    def __init__(self) -> None:
        gr.HTML(_HEAD, elem_id="head")
        self.uis = {name: Ui(name) for name in VIEWS}
        self.columns = {}
        with gr.Row(elem_id="body"):
            with gr.Column(elem_id="rail"):
                titles = [(view.title, name) for name, view in VIEWS.items()]
                self.view = gr.Radio(titles, label="View", elem_id="mode")
                for name, view in VIEWS.items():
                    with gr.Column(visible=False, elem_classes="part") as self.columns[name]:
                        view.build(self.uis[name])
            self.stage = gr.HTML(html.render_message("Opening …", ""), elem_id="stage")
        #: The state: the address after ``?``.
        self.query = gr.Textbox(visible=False)
        self.waiting = gr.Textbox(visible=False)
        self.answer = gr.Textbox(visible=False)
        self.send = gr.Button("", elem_id="send", elem_classes="send")
        #: Send what stays in a view, and what goes to one: Gradio makes every output of an event
        #: anew, changed or not.
        self.sends, self.goes = (
            {name: gr.Button("", elem_id=f"{word}-{name}", elem_classes="send") for name in VIEWS}
            for word in ("send", "go")
        )
        self.show = gr.Button("", elem_id="show", elem_classes="send")
        self.wanted = Wanted()
        self.view.input(None, inputs=[self.view], js=_SWITCH)

    def _on(
        self,
        trigger: Any,
        function: Any,
        inputs: Any,
        js: str | None = None,
        *,
        of: Iterable[str] = tuple(VIEWS),
        stays: bool = False,
    ) -> None:
        """An event makes a state, the controls that show it (``of`` some views; it ends in one of
        them, or ``stays`` in it), and the stage, unless the browser is to ask for that alone since
        it is sampled."""
        parts = [part for view in of for part in self.uis[view].parts.values()]
        around = [] if stays else [self.view, *self.columns.values()]
        event = trigger(
            function,
            inputs=inputs,
            outputs=[*around, *parts, self.query, self.stage, self.answer],
            js=js,
            postprocess=False,  # what `load` gives is what the browser takes; no thread for each
            show_progress="hidden",
            trigger_mode="multiple",
            concurrency_limit=4,
            concurrency_id="act",
            api_visibility="private",
        )
        event.success(None, inputs=[self.answer], js=_DONE)
        event.failure(None, js=_FAILED)

    def open_when(self, loaded: Any) -> None:
        """Open the page as its address asks for it."""
        self._on(loaded, self._open, None)
        inputs = [self.waiting, self.query]
        self._on(self.send.click, self._acts(), inputs, _SEND)
        for view in VIEWS:
            self._on(self.goes[view].click, self._acts(), inputs, _SEND, of=[view])
            self._on(self.sends[view].click, self._acts(view), inputs, _SEND, of=[view], stays=True)
        shown = self.show.click(
            self._show,
            inputs=[self.query],
            outputs=[self.stage],
            show_progress="hidden",
            trigger_mode="multiple",
            concurrency_limit=4,
            concurrency_id="show",
            api_visibility="private",
        )
        for stop in (stop for ui in self.uis.values() for stop in ui.stops):
            stop(None, cancels=[shown], api_visibility="private")

    def _show(self, query: str, request: gr.Request) -> Iterator[Any]:
        """The pages of an address; it ends when the reader has gone on."""
        pages = self.wanted.until_left(request.session_hash, query, views.show(query))
        yield next(pages, gr.skip())
        yield from pages

    def _open(self, request: gr.Request) -> dict[Any, Any]:
        with live.READERS:
            query = _after({"query": urlencode(dict(request.query_params))}, "")
            self.wanted.now(request.session_hash, query)
            return self._arranged([query], before="")

    def _acts(self, view: str = "") -> Callable[..., dict[Any, Any]]:
        """What makes the updates after some steps of the reader; all of them in ``view``, if one is
        named."""

        def act(waiting: str, query: str, request: gr.Request) -> dict[Any, Any]:
            before, addresses = query, []
            with live.READERS, _as_message():
                for step in json.loads(waiting):
                    query = _after(step, query)
                    addresses.append(query)
                self.wanted.now(request.session_hash, query)
                return self._arranged(addresses or [query], before, view)

        return act

    def _arranged(self, addresses: list[str], before: str, view: str = "") -> dict[Any, Any]:
        """The updates that make a page that shows the address ``before`` show the last one."""
        query = addresses[-1]
        name, state = views.find(views.parse(query))
        parts = self.uis[name].parts
        shown = VIEWS[name].load(state).items()
        whole = _reads(query)
        answer = {"view": name, "addresses": addresses, "whole": whole}
        updates = {
            self.query: query,
            self.answer: json.dumps(answer),
            **{parts[part]: gr.update(**properties) for part, properties in shown},
            **({self.stage: list(views.show(query))[-1]} if whole else {}),
        }
        known = view or (views.parse(before).get("view", views.NAMES[0]) if before else "")
        if known != name:
            updates[self.view] = gr.update(value=name)
            updates |= {c: gr.update(visible=n == name) for n, c in self.columns.items()}
        return updates


@contextmanager
def _as_message() -> Iterator[None]:
    """What a control cannot have sent is one sentence on the page, without a traceback."""
    try:
        yield
    except EKIPLError as error:
        raise gr.Error(escape(said(error)), print_exception=False) from error  # toasts are HTML


def _reads(query: str) -> bool:
    """Whether the view of an address samples nothing."""
    return views.parse(query).get("view", views.NAMES[0]) not in SAMPLED


def _after(step: Mapping[str, Any], query: str) -> str:
    """The address after one step of the reader: an address, another view, or an action in one.

    An address that names no view is kept, so that `views.show` says so. Another view keeps what
    both have in their addresses, such as the run.
    """
    if "query" in step:
        query = str(step["query"])
        found = views.parse(query)
        if found.get("view", "") not in ("", *VIEWS):
            return query
    elif "action" not in step:
        found = views.parse(query) | {"view": str(step["view"])}
    else:
        return _acted(step, query)
    name, state = views.find(found)
    return to_query(name, state)


def _acted(step: Mapping[str, Any], query: str) -> str:
    """The address after a control was set or a button pressed."""
    name, action, value = str(step["view"]), str(step["action"]), step.get("value")
    if name not in VIEWS:
        raise ConfigError(f"There is no view {name!r}.")
    view = VIEWS[name]
    state = view.complete(from_query(view.state, views.parse(query)))
    shown = view.load(state)
    if value is not None and not could_send(shown.get(action, {}), value):
        raise ConfigError(f"{action!r} of {view.title} does not take that value.")
    loaded = {part: properties.get("value") for part, properties in shown.items()}
    values = {**step.get("values", {}), **loaded, **({} if value is None else {action: value})}
    known = {part: given for part, given in values.items() if given is not None}
    return to_query(name, view.complete(view.act(action, state, known)))


def build_page() -> gr.Blocks:
    """The whole page with its API endpoints."""
    with gr.Blocks(title="EKIPL Lab", analytics_enabled=False, fill_width=True) as blocks:
        Page().open_when(blocks.load)
        api.add_endpoints()
    return blocks

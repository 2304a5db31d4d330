"""The page: only wiring lives here.

What is shown comes from ``app.views``; everything a model made reaches the browser as escaped HTML
in the *value* of ``gr.HTML``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from app import api, html, views
from app.state import from_query, to_query
from app.ui import Ui
from app.views import VIEWS

_STATIC = Path(__file__).parent / "static"
_HEAD = (
    "<h1>EKIPL Lab</h1>"
    "<p>What the policy thought, what its teachers thought, and what was kept.</p>"
)
#: Puts the state into the address without loading the page again.
_TO_ADDRESS = "(query) => { window.history.replaceState(null, '', query ? '?' + query : '.'); }"


def look() -> dict[str, Any]:
    """Theme and style for ``launch`` or ``mount_gradio_app``; fonts of the reader's system only."""
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
        button_primary_background_fill_hover="#333a47",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="*background_fill_primary",
        button_secondary_border_color="*border_color_primary",
        input_border_width="1px",
    )
    return {"theme": theme, "css_paths": [_STATIC / "style.css", _STATIC / "compare.css"]}


class Page:
    """Every view's controls at the left, what the chosen view shows at the right."""

    def __init__(self) -> None:
        gr.HTML(_HEAD, elem_id="head")
        self.uis = {name: Ui(name) for name in VIEWS}
        self.parts = {}
        with gr.Row(elem_id="body"):
            with gr.Column(elem_id="rail"):
                titles = [(view.title, name) for name, view in VIEWS.items()]
                self.view = gr.Radio(titles, show_label=False, elem_id="mode")
                for name, view in VIEWS.items():
                    with gr.Column(visible=False, elem_classes="part") as self.parts[name]:
                        view.build(self.uis[name])
            self.stage = gr.HTML(html.render_message("Opening …", ""), elem_id="stage")
        #: The state: the address after ``?``.
        self.query = gr.Textbox(visible=False)
        #: What is being shown, so that it can be stopped.
        self._shows: list[Any] = []
        self._wire()

    def _wire(self) -> None:
        """Every event makes a state, then the controls that show it, then the stage."""
        self._on(self.view.input, self._switch, {self.view, self.query})
        for name, ui in self.uis.items():
            for trigger, action in ui.triggers:
                inputs = {*ui.controls.values(), self.query}
                self._on(trigger, partial(self._act, name, action), inputs)

    def _on(self, trigger: Any, function: Any, inputs: Any) -> None:
        controls = [control for ui in self.uis.values() for control in ui.controls.values()]
        event = trigger(
            function,
            inputs=inputs,
            outputs=[self.view, *self.parts.values(), *controls, self.query],
            show_progress="hidden",
            api_visibility="private",
        )
        shown = event.then(
            views.show,
            inputs=[self.query],
            outputs=[self.stage],
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=1,
            api_visibility="private",
        )
        self._shows.append(shown)
        event.then(None, inputs=[self.query], js=_TO_ADDRESS)

    def open_when(self, loaded: Any) -> None:
        """Open the page as its address asks for it; from then on a stop ends any showing."""
        self._on(loaded, self._open, None)
        for ui in self.uis.values():
            for trigger in ui.stops:
                trigger(None, cancels=self._shows, api_visibility="private")

    def _open(self, request: gr.Request) -> dict[Any, Any]:
        return self._arranged(*views.find(dict(request.query_params)))

    def _switch(self, given: dict[Any, Any]) -> dict[Any, Any]:
        """Another view; what both have in their addresses, such as the run, stays."""
        query = views.parse(given[self.query]) | {"view": given[self.view]}
        return self._arranged(*views.find(query))

    def _act(self, name: str, action: str, given: dict[Any, Any]) -> dict[Any, Any]:
        view, controls = VIEWS[name], self.uis[name].controls
        values = {n: given[c] for n, c in controls.items() if given[c] is not None}
        state = from_query(view.state, views.parse(given[self.query]))
        return self._arranged(name, view.act(action, state, values))

    def _arranged(self, name: str, state: Any) -> dict[Any, Any]:
        """The updates that make the page show a state."""
        controls = self.uis[name].controls
        shown = VIEWS[name].load(state).items()
        return {
            self.view: gr.update(value=name),
            self.query: to_query(name, state, default=views.NAMES[0]),
            **{part: gr.update(visible=n == name) for n, part in self.parts.items()},
            **{controls[control]: gr.update(**properties) for control, properties in shown},
        }


def build_page() -> gr.Blocks:
    """The whole page with its API endpoints."""
    with gr.Blocks(title="EKIPL Lab", analytics_enabled=False, fill_width=True) as blocks:
        Page().open_when(blocks.load)
        api.add_endpoints()
    return blocks

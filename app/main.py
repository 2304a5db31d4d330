"""The page: choose a run, a checkpoint and an item; see policy and teachers side by side.

Only wiring lives here. What is shown comes from ``app.show``; everything a model made reaches the
browser as escaped HTML in the *value* of ``gr.HTML``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from app import api, items, rail, show, view
from app.state import ALL_FAMILIES, LIVE, RECORDED, Selection, from_query
from ekipl_lab.benchmarks import SPLITS

_STATIC = Path(__file__).parent / "static"
_HEAD = (
    "<h1>EKIPL Lab</h1>"
    "<p>What the policy thought, what its teachers thought, and what was kept.</p>"
)
#: Puts the selection into the address without loading the page again.
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
    return {"theme": theme, "css_paths": [_STATIC / "style.css"]}


class Page:
    """The components of the page and what happens to them."""

    def __init__(self) -> None:
        self.head = gr.HTML(_HEAD, elem_id="head")
        with gr.Row(elem_id="body"):
            with gr.Column(elem_id="rail"):
                self._build_rail()
            self.stage = gr.HTML(view.render_message("Opening …", ""), elem_id="stage")
        self.query = gr.Textbox(visible=False)
        self._wire()

    def _build_rail(self) -> None:
        self.mode = gr.Radio([LIVE, RECORDED], value=LIVE, show_label=False, elem_id="mode")
        self.run = gr.Dropdown([], label="Run", elem_id="run")
        with gr.Column(elem_classes="part") as self.live_part:
            self.checkpoint = gr.Dropdown([], label="Checkpoint", elem_id="checkpoint")
            gr.HTML("<h3>Benchmark item</h3>", elem_classes="heading")
            self.task = gr.Dropdown(items.list_tasks(), label="Task")
            self.split = gr.Dropdown(list(SPLITS), label="Split")
            self.family = gr.Dropdown([ALL_FAMILIES], label="Family")
            self.number = gr.Number(
                0, label="Item, counted from 0", minimum=0, precision=0, elem_id="number"
            )
            with gr.Row(elem_classes="step-buttons"):
                self.previous = gr.Button("← Previous", size="sm")
                self.next = gr.Button("Next →", size="sm")
            with gr.Row(elem_classes="step-buttons"):
                self.random = gr.Button("Random item", size="sm")
            self.draw = gr.Number(0, visible=False, precision=0)
            self.again = gr.Button("Sample again", variant="primary", elem_id="again")
        with gr.Column(visible=False, elem_classes="part") as self.recorded_part:
            self.step = gr.Dropdown([], label="Training step", elem_id="step")
            self.number_of_group = gr.Number(
                0,
                label="Group in this step, counted from 0",
                minimum=0,
                precision=0,
                elem_id="group-number",
            )
            with gr.Row(elem_classes="step-buttons"):
                self.previous_group = gr.Button("← Previous", size="sm")
                self.next_group = gr.Button("Next →", size="sm")

    def _wire(self) -> None:
        """Every event makes a selection, then the controls that show it, then the stage."""
        for trigger, action in self._triggers():
            changed = trigger(
                partial(self._act, action),
                inputs=self._inputs,
                outputs=[*self._outputs, self.query],
                show_progress="hidden",
                api_visibility="private",
            )
            self._then_show(changed)

    def _triggers(self) -> list[tuple[Any, str]]:
        """Which event means which action of ``rail.choose``."""
        return [
            (self.mode.input, "set"),
            (self.run.input, "run"),
            (self.checkpoint.input, "set"),
            (self.task.input, "place"),
            (self.split.input, "place"),
            (self.family.input, "place"),
            (self.number.submit, "set"),
            (self.step.input, "set"),
            (self.number_of_group.submit, "set"),
            (self.previous.click, "previous"),
            (self.next.click, "next"),
            (self.random.click, "random"),
            (self.again.click, "again"),
            (self.previous_group.click, "previous"),
            (self.next_group.click, "next"),
        ]

    @property
    def _inputs(self) -> list[Any]:
        """The controls in the order of the fields of ``rail.Controls``."""
        return [
            self.mode,
            self.run,
            self.checkpoint,
            self.task,
            self.split,
            self.family,
            self.number,
            self.draw,
            self.step,
            self.number_of_group,
        ]

    @property
    def _outputs(self) -> list[Any]:
        return [*self._inputs, self.live_part, self.recorded_part]

    def _then_show(self, event: Any) -> None:
        event.then(
            show.show,
            inputs=[self.query],
            outputs=[self.stage],
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=1,
            api_visibility="private",
        )
        event.then(None, inputs=[self.query], js=_TO_ADDRESS)

    def _act(self, action: str, *values: Any) -> list[Any]:
        controls = rail.Controls(*values)
        return self._arrange(rail.settle(rail.choose(action, controls)))

    def open(self, request: gr.Request) -> list[Any]:
        """The page as its address asks for it."""
        selection = from_query(dict(request.query_params), rail.start())
        return self._arrange(rail.settle(selection))

    def _arrange(self, selection: Selection) -> list[Any]:
        """Updates of ``_outputs``, then the query."""
        shown = rail.plan(selection)
        is_live = selection.mode == LIVE
        return [
            gr.update(value=shown.mode),
            gr.update(choices=list(shown.run_choices), value=shown.run),
            gr.update(choices=list(shown.checkpoints), value=shown.checkpoint),
            gr.update(value=shown.task),
            gr.update(value=shown.split),
            gr.update(choices=list(shown.families), value=shown.family),
            gr.update(value=shown.number),
            gr.update(value=shown.draw),
            gr.update(choices=list(shown.steps), value=shown.step if shown.steps else None),
            gr.update(value=shown.group, maximum=max(0, shown.num_groups - 1)),
            gr.update(visible=is_live),
            gr.update(visible=not is_live),
            selection.to_query(),
        ]


def build_page() -> gr.Blocks:
    """The whole page with its API endpoints."""
    with gr.Blocks(title="EKIPL Lab", analytics_enabled=False, fill_width=True) as blocks:
        page = Page()
        opened = blocks.load(
            page.open,
            outputs=[*page._outputs, page.query],
            show_progress="hidden",
            api_visibility="private",
        )
        page._then_show(opened)
        api.add_endpoints()
    return blocks

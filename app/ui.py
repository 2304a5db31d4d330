"""The controls of a view, each by its name; with ``main`` and ``server`` all that knows Gradio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr


class Ui:
    """Makes controls where it is called; changing or pressing one is the action of its name.

    An action only goes into the queue of the browser (``static/page.js``), with the value.
    """

    def __init__(self, view: str) -> None:
        self._view = view
        self.controls: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}

    @property
    def parts(self) -> dict[str, Any]:
        """Controls and buttons by name: what ``load`` may give properties to."""
        return self.controls | self.buttons

    def choice(self, name: str, label: str, choices: Sequence[str] = ()) -> None:
        """One of several values; ``load`` may replace the choices."""
        control = gr.Dropdown(list(choices), label=label, elem_id=self._id(name))
        self._add(name, control, control.input)

    def number(self, name: str, label: str, *, least: int = 0) -> None:
        """A whole number; Enter, or leaving the box, sets it."""
        control = gr.Number(least, label=label, minimum=least, precision=0, elem_id=self._id(name))
        self._add(name, control, control.submit, control.blur)

    def text(self, name: str, label: str, placeholder: str = "") -> None:
        """A line of text; Enter, or leaving the box, sets it."""
        control = gr.Textbox(
            label=label, placeholder=placeholder, max_lines=1, elem_id=self._id(name)
        )
        self._add(name, control, control.submit, control.blur)

    def button(self, name: str, text: str, *, primary: bool = False) -> None:
        """A button; a primary one stands out."""
        button = gr.Button(
            text,
            size="lg" if primary else "sm",
            variant="primary" if primary else "secondary",
            elem_id=self._id(name),
        )
        self.buttons[name] = button
        button.click(None, js=f"() => {{ {self._act(name, 'null')} }}")

    def heading(self, text: str) -> None:
        """A small heading; ``text`` is ours, never a model's."""
        gr.HTML(f"<h3>{text}</h3>", elem_classes="heading")

    def row(self) -> Any:
        """``with ui.row():`` puts controls side by side."""
        return gr.Row(elem_classes="step-buttons")

    def _id(self, name: str) -> str:
        return f"{self._view}-{name}"

    def _act(self, name: str, value: str) -> str:
        return f"window.ekipl.act({json.dumps(self._view)}, {json.dumps(name)}, {value});"

    def _add(self, name: str, control: Any, *triggers: Any) -> None:
        self.controls[name] = control
        for trigger in triggers:
            trigger(None, inputs=[control], js=f"(value) => {{ {self._act(name, 'value')} }}")

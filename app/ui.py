"""The controls of a view, each by its name; with ``main`` and ``server`` all that knows Gradio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

#: Asks the browser for a picture and sets it as a data URI; nothing if none is chosen.
_PICK = """() => {
  const chooser = document.createElement('input'), reader = new FileReader();
  chooser.type = 'file';
  chooser.accept = 'image/png,image/jpeg,image/webp';
  chooser.onchange = () => reader.readAsDataURL(chooser.files[0]);
  reader.onload = () => { const value = reader.result; %s };
  chooser.click();
}"""


#: Most characters of a box for text.
MAX_TEXT = 2_000


class Ui:
    """Makes controls where it is called; changing or pressing one is the action of its name.

    An action only goes into the queue of the browser (``static/page.js``), with the value.
    """

    def __init__(self, view: str) -> None:
        self._view = view
        self.controls: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self.stops: list[Any] = []

    @property
    def parts(self) -> dict[str, Any]:
        """Controls and buttons by name: what ``load`` may give properties to."""
        return self.controls | self.buttons

    def choice(self, name: str, label: str, choices: Sequence[Any] = ()) -> None:
        """One of several values; ``load`` may replace the choices."""
        control = gr.Dropdown(list(choices), label=label, elem_id=self._id(name))
        self._add(name, control, control.input)

    def choices(self, name: str, label: str) -> None:
        """Several of the values that ``load`` gives; a list."""
        control = gr.Dropdown([], label=label, multiselect=True, elem_id=self._id(name))
        self._add(name, control, control.input)

    def checks(self, name: str, label: str, choices: Sequence[tuple[str, str]]) -> None:
        """Boxes to tick; a list."""
        control = gr.CheckboxGroup(list(choices), label=label, elem_id=self._id(name))
        self._add(name, control, control.input)

    def number(self, name: str, label: str, *, least: int = 0) -> None:
        """A whole number; Enter, or leaving the box, sets it."""
        control = gr.Number(least, label=label, minimum=least, precision=0, elem_id=self._id(name))
        self._add(name, control, control.submit, control.blur)

    def text(
        self,
        name: str,
        label: str,
        placeholder: str = "",
        *,
        lines: int = 1,
        longest: int = MAX_TEXT,
    ) -> None:
        """A text; leaving the box, or Enter in one of a single line, sets it."""
        control = gr.Textbox(
            label=label,
            placeholder=placeholder,
            lines=lines,
            max_length=longest,
            elem_id=self._id(name),
        )
        self._add(name, control, control.submit, control.blur)

    def picture(self, name: str, text: str) -> None:
        """A button that takes a picture of the reader's; its value is a data URI, never a file."""
        button = gr.Button(text, size="sm", elem_id=self._id(name))
        button.click(None, js=_PICK % self._act(name, "value"))
        self.buttons[name] = button

    def stop(self, text: str) -> None:
        """A button that ends what is being shown; what is there already stays."""
        self.stops.append(gr.Button(text, size="sm", elem_id=self._id("stop")).click)

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
        gr.HTML(f"<h2>{text}</h2>", elem_classes="heading")

    def row(self) -> Any:
        """``with ui.row():`` puts controls side by side."""
        return gr.Row(elem_classes="step-buttons")

    def arrows(self) -> None:
        """The buttons ``previous`` and ``next`` side by side."""
        with self.row():
            self.button("previous", "← Previous")
            self.button("next", "Next →")

    def _id(self, name: str) -> str:
        return f"{self._view}-{name}"

    def _act(self, name: str, value: str) -> str:
        return f"window.ekipl.act({json.dumps(self._view)}, {json.dumps(name)}, {value});"

    def _add(self, name: str, control: Any, *triggers: Any) -> None:
        self.controls[name] = control
        for trigger in triggers:
            trigger(None, inputs=[control], js=f"(value) => {{ {self._act(name, 'value')} }}")

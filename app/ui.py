"""The controls of a view, each by its name; with ``main`` and ``server`` all that knows Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

#: Asks the browser for a picture and gives it as a data URI; the empty text if none is chosen.
_PICK = """() => new Promise((done) => {
  const chooser = document.createElement('input');
  chooser.type = 'file';
  chooser.accept = 'image/png,image/jpeg,image/webp';
  chooser.oncancel = () => done('');
  chooser.onchange = () => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => done('');
    reader.readAsDataURL(chooser.files[0]);
  };
  chooser.click();
})"""


class Ui:
    """Makes controls where it is called; changing or pressing one is the action of its name."""

    def __init__(self, view: str) -> None:
        self._view = view
        self.controls: dict[str, Any] = {}
        self.triggers: list[tuple[Any, str]] = []
        self.stops: list[Any] = []

    def choice(self, name: str, label: str, choices: Sequence[str] = ()) -> None:
        """One of several values; ``load`` may replace the choices."""
        control = gr.Dropdown(list(choices), label=label, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.input)

    def number(self, name: str, label: str) -> None:
        """A whole number from 0; Enter sets it."""
        control = gr.Number(0, label=label, minimum=0, precision=0, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.submit)

    def text(self, name: str, label: str) -> None:
        """A line of text; Enter sets it."""
        control = gr.Textbox("", label=label, max_lines=4, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.submit)

    def picture(self, name: str, text: str) -> None:
        """A button that takes a picture of the reader's; its value is a data URI, never a file."""
        held = gr.Textbox("", visible=False, elem_id=f"{self._view}-{name}-data")
        button = gr.Button(text, size="sm", elem_id=f"{self._view}-{name}")
        self._add(name, held, button.click(None, outputs=[held], js=_PICK).then)

    def stop(self, text: str) -> None:
        """A button that ends what is being shown; what is there already stays."""
        self.stops.append(gr.Button(text, size="sm", elem_id=f"{self._view}-stop").click)

    def button(self, name: str, text: str, *, primary: bool = False) -> None:
        """A button; a primary one stands out."""
        button = gr.Button(
            text,
            size="lg" if primary else "sm",
            variant="primary" if primary else "secondary",
            elem_id=f"{self._view}-{name}",
        )
        self.triggers.append((button.click, name))

    def heading(self, text: str) -> None:
        """A small heading; ``text`` is ours, never a model's."""
        gr.HTML(f"<h3>{text}</h3>", elem_classes="heading")

    def row(self) -> Any:
        """``with ui.row():`` puts controls side by side."""
        return gr.Row(elem_classes="step-buttons")

    def _add(self, name: str, control: Any, trigger: Any) -> None:
        self.controls[name] = control
        self.triggers.append((trigger, name))

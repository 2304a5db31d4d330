"""The controls of a view, each by its name; with ``main`` and ``server`` all that knows Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr


class Ui:
    """Makes controls where it is called; changing or pressing one is the action of its name."""

    def __init__(self, view: str) -> None:
        self._view = view
        self.controls: dict[str, Any] = {}
        self.triggers: list[tuple[Any, str]] = []

    def choice(self, name: str, label: str, choices: Sequence[Any] = ()) -> None:
        """One of several values; ``load`` may replace the choices."""
        control = gr.Dropdown(list(choices), label=label, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.input)

    def choices(self, name: str, label: str) -> None:
        """Several of the values that ``load`` gives; a list."""
        control = gr.Dropdown([], label=label, multiselect=True, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.input)

    def checks(self, name: str, label: str, choices: Sequence[tuple[str, str]]) -> None:
        """Boxes to tick, a list."""
        elem_id = f"{self._view}-{name}"
        control = gr.CheckboxGroup(list(choices), label=label, elem_id=elem_id)
        self._add(name, control, control.input)

    def text(self, name: str, label: str, *, lines: int = 1, longest: int | None = None) -> None:
        """A text; leaving the box, or Enter in one of a single line, sets it."""
        control = gr.Textbox(
            label=label, lines=lines, max_length=longest, elem_id=f"{self._view}-{name}"
        )
        self._add(name, control, control.submit, control.blur)

    def number(self, name: str, label: str) -> None:
        """A whole number from 0; Enter sets it."""
        control = gr.Number(0, label=label, minimum=0, precision=0, elem_id=f"{self._view}-{name}")
        self._add(name, control, control.submit)

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

    def _add(self, name: str, control: Any, *triggers: Any) -> None:
        self.controls[name] = control
        self.triggers += [(trigger, name) for trigger in triggers]

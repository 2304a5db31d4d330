"""What a view of the page is: plain functions over a state that fits into the address.

Gradio calls them in this order. An address, or a change of a control (``act``), gives a state;
``complete`` fills in what it leaves open; ``load`` says what every control shows; ``show`` gives
the HTML beside them. The whole state is in the address, so that a link shows the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from app.ui import Ui

S = TypeVar("S")
#: Numbers of a control are smaller.
MAX_NUMBER = 10**9
#: Properties of a control by the control's name, such as {"step": {"value": 3}}.
Properties = Mapping[str, Mapping[str, Any]]


def set_fields(action: str, state: S, values: Mapping[str, Any]) -> S:
    """The state with every field set whose control has the same name."""
    known = {field.name for field in fields(state)}  # type: ignore[arg-type]
    changed = {name: value for name, value in values.items() if name in known}
    return replace(state, **changed)  # type: ignore[type-var]


def unchanged(state: S) -> S:
    """The state as it is."""
    return state


@dataclass(frozen=True, slots=True)
class View(Generic[S]):
    """A view; ``state`` is a frozen dataclass of str and int, its fields are the address's keys.

    ``build(ui)`` makes the controls. ``load(state)`` gives properties of controls and buttons
    (``value``, ``choices``); it asks for names and numbers alone and raises nothing.
    ``show(state)`` gives HTML, once or several times, each time in place of the last; an
    EKIPLError becomes a message.
    ``act(action, state, values)`` is the state after the control or button named ``action``;
    ``values`` are those of all controls that have one, as ``load`` gives them, and the one set.
    """

    title: str
    state: type[S]
    build: Callable[[Ui], None]
    load: Callable[[S], Properties]
    show: Callable[[S], Iterator[str]]
    act: Callable[[str, S, Mapping[str, Any]], S] = set_fields
    complete: Callable[[S], S] = unchanged


def options(choices: Sequence[Any], value: Any) -> dict[str, Any]:
    """The properties of a choice; without a value where ``value`` is none of the choices."""
    known = [choice[1] if isinstance(choice, tuple) else choice for choice in choices]
    return {"choices": list(choices), "value": value if value in known else None}


def could_send(shown: Mapping[str, Any], value: Any) -> bool:
    """Whether a control with these properties can have sent a value: a list of texts, a whole
    number or a text, as it shows one; either of the last two where it shows nothing."""
    usual = shown.get("value")
    if isinstance(usual, list):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and abs(value) < MAX_NUMBER and value == int(value)
    if isinstance(usual, int):
        return is_whole
    if usual is None and "choices" not in shown:
        return is_whole or isinstance(value, str)
    return isinstance(value, str)

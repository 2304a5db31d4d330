"""Training from a notebook cell: curves that move, a kernel that stays yours.

    training = LiveTraining(config)
    training.start()                    # trains in a thread; the cell returns at once
    training.watch()                    # curves, until it ends; interrupting the cell only detaches
    training.stop()                     # ends after the current step; everything is saved
    training.start()                    # goes on where it stopped, in the same MLflow run
    training.result()                   # waits for the end

What a cell draws meanwhile must not use the global random states of torch, NumPy or Python: they
are the trainer's (the library's own sources have states of their own).
"""

from __future__ import annotations

import base64
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.notebook.curves import Curves, Points
from ekipl_lab.plots.metrics import live_panels

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run import TrainResult

Event = Mapping[str, Any]
#: Seconds between two pictures.
INTERVAL = 1.0


class LiveTraining:
    """One run, trained in a thread of this process; ``history`` holds what it has reported.

    ``panels``: title -> metrics; a name that ends in ``*`` stands for all that begin so. Without
    them those of `plots.metrics` are drawn whose places name ``live``.
    """

    def __init__(self, config: RunConfig, *, panels: Mapping[str, Sequence[str]] | None = None):
        self.config = config
        self.panels = dict(panels or live_panels([teacher.id for teacher in config.teachers]))
        self.history: dict[str, Points] = {}
        self.step = 0
        self.event: Event = {}
        self._stop, self._news = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._result: TrainResult | None = None
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether training goes on at this moment."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> LiveTraining:
        """Train, or go on from the last checkpoint; returns at once. Does nothing if it runs."""
        if not self.running:
            self._stop, self._result, self._error = threading.Event(), None, None
            self._thread = threading.Thread(target=self._train, name="ekipl-train", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> TrainResult:
        """End after the current step, save, and wait for that; ``start`` then goes on.

        Raises what training raised.
        """
        self._stop.set()
        return self.result()

    def watch(self, until_step: int | None = None) -> None:
        """Show the curves until training ends, or until this training step is done.

        Interrupting the cell ends the watching, not the training. Raises what training raised.
        """
        picture = _Picture()
        try:
            while self.running and (until_step is None or self.step < until_step):
                picture.show(self.curves())
                self._news.wait(INTERVAL)
                self._news.clear()
        except KeyboardInterrupt:
            print("Watching ended; training goes on: stop() ends it, watch() looks again.")
        picture.show(self.curves(), last=True)
        self._raise()

    def result(self) -> TrainResult:
        """Wait for the end and give what ``training.run.train`` returned; raises what it raised."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(INTERVAL)
        self._raise()
        if self._result is None:
            raise ConfigError("This run was not started; call start() first.")
        return self._result

    def curves(self) -> Curves:
        """The curves so far as one picture."""
        place = f"step {self.step}" if self.step else ""
        parts = [self.config.name, str(self.event.get("phase", "waiting")), place]
        panels = ((name, _pick(self.history, metrics)) for name, metrics in self.panels.items())
        return Curves(" · ".join(filter(None, parts)), tuple(panels))

    def _train(self) -> None:
        try:
            quiet()
            from ekipl_lab.training.run import train

            self._result = train(self.config, on_event=self._take, stop=self._stop.is_set)
        except BaseException as error:  # raised again where somebody asks
            self._error = error
        finally:
            self._news.set()

    def _take(self, event: Event) -> None:
        """One event of the training thread; a step that is done again replaces its points."""
        if event.get("phase") == "training":
            self.step = int(event["step"])
            for name, value in event["metrics"].items():
                earlier = [point for point in self.history.get(name, []) if point[0] < self.step]
                self.history[name] = [*earlier, (self.step, float(value))]
        self.event = dict(event)
        self._news.set()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


class _Picture:
    """One place in a cell's output that is drawn anew, at most once in ``INTERVAL`` seconds."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown, self._when = "", 0.0

    def show(self, curves: Curves, *, last: bool = False) -> None:
        """Draw ``curves`` where the former ones were, unless that was a moment ago.

        The last picture has a PNG beside it, for viewers that do not trust the notebook.
        """
        from IPython.display import display

        svg, now = curves.svg(), time.monotonic()
        if not last and (svg == self._shown or now - self._when < INTERVAL):
            return
        bundle = {"image/svg+xml": svg, "text/plain": curves.title}
        if last:
            bundle["image/png"] = base64.b64encode(curves.png()).decode("ascii")
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        self._shown, self._when = svg, now


def quiet() -> None:
    """Progress bars and warnings of the libraries below would bury the cell's output."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)


def _pick(history: Mapping[str, Points], metrics: Sequence[str]) -> dict[str, Points]:
    """The lines of a panel, in the order of ``metrics``."""
    found: dict[str, Points] = {}
    for metric in metrics:
        stem = metric.removesuffix("*")
        for name in list(history):
            if name == metric or (stem != metric and name.startswith(stem)):
                found[name] = history[name]
    return found

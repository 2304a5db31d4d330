"""Serve a tiny policy of this project by `transformers serve`, as an OpenAI-compatible teacher.

::

    python -m ekipl_lab.teachers.serve assets/policies/bigger --port 8001
    # then, as a teacher: {type: openai, id: served, model: <the path it prints>,
    #                      base_url: "http://127.0.0.1:8001/v1"}

Two things that the plain command lacks: the image-only processor is registered (without it the
model would run blind), and the server learns how a reply begins and ends in this chat template.
It listens on 127.0.0.1 alone and asks no hub. Real models need only `transformers serve`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ekipl_lab.errors import ConfigError

#: How transformers finds reasoning and content in a reply of the tiny policy's chat template.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        "content": {"close_pattern": r"(?:<\|im_end\|>|<\|endoftext\|>)", "content": "text"},
    },
}


def servable_copy(checkpoint: Path, folder: Path) -> Path:
    """A copy of a checkpoint in ``folder`` whose tokenizer knows ``RESPONSE_TEMPLATE``."""
    config = checkpoint / "tokenizer_config.json"
    if not config.is_file():
        raise ConfigError(f"{checkpoint} is no checkpoint with a tokenizer; give its folder.")
    target = folder / checkpoint.name
    shutil.copytree(checkpoint, target)
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.setdefault("response_template", RESPONSE_TEMPLATE)
    (target / config.name).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ekipl-serve-") as folder:
        target = servable_copy(args.checkpoint.resolve(), Path(folder))
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HOME"] = folder  # the server looks through the hub's cache at its start
        (Path(folder) / "hub").mkdir()
        from transformers.cli.transformers import app

        import ekipl_lab.policies  # noqa: F401  (registers the image-only processor)

        print(f"model: {target}", flush=True)
        options = ["--host", "127.0.0.1", "--port", str(args.port), "--device", args.device]
        app(["serve", str(target), *options])


if __name__ == "__main__":
    main()

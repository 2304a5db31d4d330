"""Wrong studies, warm starts, own data and evaluations: what the other commands must refuse.

python tests/kit/wrong_files.py [WORD ...]      what is amiss with those that have such a word
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from PIL import Image

NAN, INF = float("nan"), float("inf")
ROOT = Path(__file__).resolve().parents[2]
COUNTING = str(ROOT / "assets/policies/counting")

STUDY: dict[str, Any] = {
    "name": "wrong", "base": str(ROOT / "configs/studies/counting.yaml"), "seeds": [0],
    "tasks": {"counting": {}}, "arms": {"grpo": {}}, "baseline": "grpo",
    "final": {"num_samples": 2, "ks": [1]},
}  # fmt: skip
#: What makes a study wrong: sections that are put in place of its own.
STUDIES: dict[str, dict[str, Any]] = {
    "no base": {"base": "nowhere.yaml"},
    "base is a folder": {"base": "configs"},
    "base is no config": {"base": str(ROOT / "README.md")},
    "no seeds": {"seeds": []},
    "a seed twice": {"seeds": [1, 1]},
    "a negative seed": {"seeds": [-1]},
    "no tasks": {"tasks": {}},
    "task with an unknown key": {"tasks": {"counting": {"data.tsk": "counting"}}},
    "task that is not there": {"tasks": {"chess": {"data.task": "chess"}}},
    "unknown baseline": {"baseline": "paper"},
    "unknown preset": {"arms": {"grpo": {}, "mine": {}}},
    "arm with an unknown key": {"arms": {"grpo": {"st": {}}}},
    "arm that sets nan": {"arms": {"grpo": {"set": {"grpo.beta": NAN}}}},
    "arm that sets an unknown key": {"arms": {"grpo": {"set": {"grpo.bta": 0.1}}}},
    "arm that sets the seed": {"arms": {"grpo": {"set": {"seed": 5}}}},
    "arm that sets the name": {"arms": {"grpo": {"set": {"name": "x"}}}},
    "arm on other sets": {"arms": {"grpo": {"set": {"evaluation.sets": [{"split": "train"}]}}}},
    "arm of other samples": {"arms": {"grpo": {"set": {"evaluation.temperature": 0.5}}}},
    "arm of other pictures": {"arms": {"grpo": {"set": {"data.image_size": 84}}}},
    "arm of another task": {"arms": {"grpo": {"set": {"data.task": "geometry"}}}},
    "arm that is not told the form": {"arms": {"grpo": {"set": {"data.instructed": True}}}},
    "arm trained on no family": {"arms": {"grpo": {"set": {"data.split": "tset"}}}},
    "zero shot with settings": {"arms": {"grpo": {}, "zero_shot": {"set": {"grpo.beta": 0.1}}}},
    "task that sets the seed": {"tasks": {"counting": {"seed": 5}}},
    "set that sets the seed": {"set": {"seed": 5}},
    "arm that is a list": {"arms": {"grpo": []}},
    "arm with odd letters": {"arms": {"a/b": {"preset": "grpo"}, "grpo": {}}},
    "arm with wrong sft": {"arms": {"grpo": {"sft": {"steps": -1}}}},
    "no ks": {"final": {"num_samples": 2, "ks": []}},
    "ks of 0": {"final": {"num_samples": 2, "ks": [0]}},
    "ks above the samples": {"final": {"num_samples": 2, "ks": [4]}},
    "no samples": {"final": {"num_samples": 0, "ks": [1]}},
    "primary is no metric": {"primary": ["pass_at_x"]},
    "primary is unknown": {"primary": ["acuracy"]},
    "strata twice": {"strata": {"a": ["compare"], "b": ["compare"]}},
    "strata of no family": {"strata": {"a": ["no_such_family"]}},
    "sft is wrong": {"sft": {"stps": 3}},
    "records in a file": {"records": str(ROOT / "README.md")},
    "name with a blank": {"name": "a b"},
    "name too long": {"name": "x" * 200},
    "unknown key": {"sedes": [0]},
    "set is a list": {"set": ["grpo.beta"]},
    "set with an unknown section": {"set": {"grop.beta": 1}},
}  # fmt: skip

RECIPE: dict[str, Any] = {
    "name": "wrong", "task": "counting", "work_dir": "work", "output": "out",
    "stages": [{"name": "a", "steps": 2, "batch_size": 2, "mixture": {"compare": 1}}],
}  # fmt: skip
STAGES: dict[str, dict[str, Any]] = {
    "unknown family": {"mixture": {"cmpare": 1}},
    "unknown style": {"mixture": {"compare:rhyme": 1}},
    "no mixture": {"mixture": {}},
    "share of 0": {"mixture": {"compare": 0}},
    "negative share": {"mixture": {"compare": -1, "caption": 2}},
    "share is nan": {"mixture": {"compare": NAN}},
    "rate is infinite": {"matrix_lr": INF},
    "unknown token": {"token_weights": {"no such token": 2.0}},
    "negative token weight": {"token_weights": {"red": -1.0}},
    "negative warmup": {"warmup": -1},
    "unknown setting": {"mixtre": {}},
    "more parts than rows": {"length_parts": 64},
    "endless batch": {"batch_size": 10**12},
}
RECIPES: dict[str, dict[str, Any]] = {
    "unknown task": {"task": "chess"},
    "unknown size": {"size": "giant"},
    "no stages": {"stages": []},
    "stages is a word": {"stages": "a"},
    "image of -1": {"image_size": -1},
    "image that patches do not fill": {"image_size": 50},
    "patch of 0": {"patch_size": 0},
    "weight decay below 0": {"weight_decay": -1},
    "clip of 0": {"clip": 0},
    "no threads": {"threads": 0},
    "init is not there": {"init": "nowhere"},
    "init is a folder of something else": {"init": str(ROOT / "configs")},
    "output is a file": {"output": str(ROOT / "README.md")},
    "work is a file": {"work_dir": str(ROOT / "README.md")},
    "seed too large": {"seed": 2**40},
    **{f"stage, {name}": {"stages": [RECIPE["stages"][0] | change]}
       for name, change in STAGES.items()},
}  # fmt: skip

#: Changes of the settings of `ekipl sft` on own data.
OWN_STARTS: dict[str, dict[str, Any]] = {
    "no minutes": {"minutes": 0},
    "minutes nan": {"minutes": NAN},
    "no steps": {"steps": 0},
    "init is not there": {"init": "nowhere"},
    "unknown size": {"size": "giant", "init": "none"},
    "output is a file": {"output": str(ROOT / "README.md")},
    "unknown setting": {"minuts": 1},
    "no questions": {"questions": 0},
    "another task": {"data": {"task": "chess"}},
    "another split": {"data": {"split": "test_ood"}},
    "no output": {"output": None},
    "data is a word": {"data": "own.yaml"},
}

#: Options of `ekipl eval` that cannot be, behind a source.
EVALUATIONS: list[list[str]] = [
    ["--task", "chess"], ["--split", "tset"], ["--families", "x"], ["--limit", "-1"],
    ["--seed", "-1"], ["--seed", str(2**70)], ["--size", "0"], ["--size", "3"], ["--scorer", "x"],
    ["--scorer", "python:nowhere.py:f"], ["--samples", "-2"], ["--k", "0"], ["--k", "99"],
    ["--temperature", "nan"], ["--temperature", "-1"], ["--temperature", "inf"],
    ["--temperature", "1e9"], ["--temperature", "1e-40"], ["--top-p", "0"],
    ["--top-p", "nan"], ["--top-k", "-1"], ["--max-new-tokens", "0"], ["--strata", "nowhere.json"],
    ["--strata", str(ROOT / "README.md")], ["--against", "nowhere"], ["--dtype", "int8"],
    ["--device", "tpu7"], ["--batch-size", "0"], ["--batch-size", "-3"], ["--base", "nowhere"],
    ["--benchmark", "nowhere.yaml"], ["--out", str(ROOT / "README.md")], ["--min-pixels", "0"],
    ["--out", ""], ["--out", "/proc/x"], ["--out", "x" * 300],
    ["--policy", str(ROOT / "README.md")],
    ["--policy", "configs"], ["--preset", "x"],
]  # fmt: skip

#: A description of own data, and what makes one wrong that the records alone do not.
DATA: dict[str, Any] = {
    "name": "own", "task": "t", "answer_type": "number", "images": ".",
    "splits": {"train": "train.jsonl"},
    "columns": {"id": "id", "image": "image", "question": "q", "answer": "a"},
}  # fmt: skip
DATA_FILES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a box outside the frame": ({"answer_type": "box"}, {"a": "[0, 0, 5000, 10]"}),
    "a box in fractions": ({"answer_type": "box"}, {"a": "[0.1, 0.2, 0.5, 0.6]"}),
    "a box left of the picture": (
        {"answer_type": "box", "coordinates": "pixels"}, {"a": "[-5, 2, 9, 9]"}),
    "a box without area": ({"answer_type": "box"}, {"a": "[10, 10, 10, 10]"}),
    "a box of three": ({"answer_type": "box"}, {"a": "[1, 2, 3]"}),
    "a date as mathematics": ({"answer_type": "math"}, {"a": "2024-05-01"}),
    "a ratio as a number": ({}, {"a": "3:2"}),
    "a letter without choices": (
        {"answer_type": "letter", "columns": DATA["columns"] | {"choices": "c"}},
        {"a": "A", "c": []},
    ),
    "a letter beyond the choices": (
        {"answer_type": "letter", "columns": DATA["columns"] | {"choices": "c"}},
        {"a": "D", "c": ["1", "2"]},
    ),
    "choices of other types": (
        {"answer_type": "letter", "columns": DATA["columns"] | {"choices": "c"}},
        {"a": "A", "c": [None, {"x": 1}]},
    ),
    "choices that are a number": (
        {"answer_type": "letter", "columns": DATA["columns"] | {"choices": "c"}},
        {"a": "A", "c": 7},
    ),
    "more choices than letters": (
        {"answer_type": "letter", "columns": DATA["columns"] | {"choices": "c"}},
        {"a": "A", "c": [str(n) for n in range(40)]},
    ),
    "more marks than pictures": ({}, {"q": "<image> or <image>?"}),
    "an answer that is a list": ({}, {"a": [1, 2]}),
    "an answer that is nan": ({}, {"a": NAN}),
    "an answer that is true": ({}, {"a": True}),
    "a difficulty of a half": (
        {"columns": DATA["columns"] | {"difficulty": "d"}}, {"d": 0.5}),
    "a family that is no word": (
        {"columns": DATA["columns"] | {"family": "f"}}, {"f": "a/b\nc"}),
    "images outside": ({"images": "../.."}, {"image": "x.png"}),
    "images is a file": ({"images": "train.jsonl"}, {}),
    "splits is a list": ({"splits": ["train.jsonl"]}, {}),
    "a split outside": ({"splits": {"train": "../nowhere.jsonl"}}, {}),
    "a split is a picture": ({"splits": {"train": "0.png"}}, {}),
    "iou of 0": ({"iou": 0}, {}),
    "iou of numbers": ({"iou": 0.9}, {}),
    "tolerance of texts": ({"answer_type": "text", "tolerance": 1}, {}),
    "no columns": ({"columns": {}}, {}),
}  # fmt: skip


class Accepted(Exception):
    """The work would begin now."""


#: Where the work of a command begins.
WORK = (
    "ekipl_lab.commands.compare_study._launch",
    "ekipl_lab.training.sft.run.finish",
    "ekipl_lab.training.sft.own_run.finish",
    "ekipl_lab.evaluation.run.evaluate",
    "ekipl_lab.evaluation.job.evaluate",
)


def wrong_commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is wrong, and the command line; the files are written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, settings: Any) -> str:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings), "utf-8")
        return str(path)

    for number, (name, change) in enumerate(STUDIES.items()):
        yield f"study: {name}", ["compare", write(f"study-{number}", STUDY | change)]
    here = {"work_dir": str(folder / "work"), "output": str(folder / "out")}
    for number, (name, change) in enumerate(RECIPES.items()):
        settings = RECIPE | here | change
        yield f"recipe: {name}", ["sft", "--config", write(f"recipe-{number}", settings)]
    sound = _data(folder / "sound", {}, {})
    for number, (name, change) in enumerate(OWN_STARTS.items()):
        base = {"data": {"benchmark": sound}, "output": str(folder / "policy"), "steps": 1}
        settings = copy.deepcopy(base) | change
        if isinstance(change.get("data"), dict):
            settings["data"] = base["data"] | change["data"]
        settings = {key: value for key, value in settings.items() if value is not None}
        yield f"own start: {name}", ["sft", "--config", write(f"own-{number}", settings)]
    for options in EVALUATIONS:
        source = [] if "--policy" in options else [COUNTING]
        few = [] if "--limit" in options else ["--limit", "2"]
        yield f"eval: {' '.join(options)[-40:]}", ["eval", *source, *few, *options]
    for number, (name, (description, row)) in enumerate(DATA_FILES.items()):
        path = _data(folder / f"data-{number}", description, row)
        yield f"data: {name}", ["data", "check", path]


def _data(folder: Path, description: dict[str, Any], row: dict[str, Any]) -> str:
    folder.mkdir(parents=True)
    for index in range(12):
        Image.new("RGB", (60, 60), (index * 20, 9, 9)).save(folder / f"{index}.png")
    rows = [{"id": i, "image": f"{i}.png", "q": f"How many of {i}?", "a": i} for i in range(12)]
    if description.get("answer_type") in ("box", "boxes"):
        rows = [one | {"a": f"[{i}, 10, {i + 40}, 50]"} for i, one in enumerate(rows)]
    rows[3] |= row
    (folder / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(DATA | description), "utf-8")
    return str(path)


def judged(line: list[str], folder: Path) -> list[str]:
    """What is amiss with how a command takes wrong input: a trace, files left, no refusal.

    MLFLOW_TRACKING_URI must name a store under ``folder``, which is the store's alone.
    """
    from ekipl_lab.commands import cli

    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.ExitStack() as stack,
        ):
            for target in WORK:
                stack.enter_context(mock.patch(target, side_effect=Accepted))
            code: Any = cli.main(line)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        code = f"{type(error).__name__}: {str(error)[:300]}"
    refused = (1, 2) if line[:2] == ["data", "check"] else (2,)
    amiss = [] if code in refused else [f"ends with {code}"]
    said = (err.getvalue() + out.getvalue()).strip()
    if not amiss and not said:
        amiss.append("nothing is said")
    if os.environ.get("SHOW"):
        print(f"    {code} {err.getvalue().strip().splitlines()[-1:]}")
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return amiss + ([f"left behind: {left[:3]}"] if left else [])


if __name__ == "__main__":
    import shutil
    import sys
    import tempfile

    words = sys.argv[1:] or [""]
    root = Path(tempfile.mkdtemp(prefix="wrong-"))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/store/mlflow.db"
    faults = count = 0
    for name, line in wrong_commands(root / "files"):
        if not any(word in name for word in words):
            continue
        count += 1
        print(name, flush=True)
        (root / "store").mkdir(exist_ok=True)
        if amiss := judged(line, root / "store"):
            faults += 1
            print("    AMISS " + "\n    ".join(amiss), flush=True)
            from ekipl_lab.tracking import store as opened

            opened._prepare.cache_clear()
            opened._client.cache_clear()
            shutil.rmtree(root / "store")
    print(f"{count} wrong commands, {faults} with faults")
    shutil.rmtree(root)

"""Some 800 configs of runs that cannot be right, each with a name that says what is wrong.

python tests/kit/wrong_configs.py [WORD ...]      what is amiss with those that have such a word
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

#: A run that would be done in a second or two: whatever is wrong with a copy of it was put there.
BASE: dict[str, Any] = {
    "policy": {"build": "nano"},
    "data": {"limit": 8},
    "grpo": {"max_steps": 1, "num_generations": 4, "per_device_train_batch_size": 8,
             "max_completion_length": 8},
    "evaluation": {"sets": [{"limit": 2}], "every": 0, "num_samples": 2, "ks": [1]},
}  # fmt: skip

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
_TYPES: list[Any] = ["abc", [], {"a": 1}, True]
_COUNT = [NAN, INF, -1, 0, HUGE, 1.5, *_TYPES]
_FROM_ZERO = [NAN, INF, -1, HUGE, *_TYPES]
_REAL = [NAN, INF, -INF, -1.0, *_TYPES]
_YES_NO = ["perhaps", 3, [], NAN]

#: Setting -> values that it cannot have.
VALUES: dict[str, list[Any]] = {
    "seed": [*_FROM_ZERO, 2**32, 1.5, None],
    "data.limit": [*_COUNT, 10**12],
    "data.start": [*_FROM_ZERO, 10**30],
    "data.seed": [*_FROM_ZERO, 2**40],
    "data.image_size": [*_COUNT, 10**7],
    "data.instructed": _YES_NO,
    "data.on_bad_record": ["ignore", 3, None, NAN],
    "policy.min_pixels": _COUNT,
    "policy.max_pixels": _COUNT,
    "evaluation.every": [*_FROM_ZERO, 1.5],
    "evaluation.num_samples": [*_COUNT, 10**9],
    "evaluation.temperature": [*_REAL, 0, 1e9, 1e-40],
    "evaluation.max_rows": _COUNT,
    "evaluation.ks": [[0], [-1], [64], [NAN], ["x"], [True], 1, "abc", [HUGE]],
    "evaluation.seed": [*_FROM_ZERO, 2**40],
    "evaluation.at_end": _YES_NO,
    "evaluation.check_chains": _YES_NO,
    "evaluation.sets.0.limit": _COUNT,
    "evaluation.sets.0.seed": _FROM_ZERO,
    "tracking.checkpoint_every": _COUNT,
    "tracking.keep_checkpoints": _COUNT,
    "diagnostics.doctor_every": _FROM_ZERO,
    "diagnostics.gradient_norms_every": _FROM_ZERO,
    "hardware.gpus": _COUNT,
    "hardware.gpu_memory_gib": [*_REAL, 0],
    "hardware.host_memory_gib": [*_REAL, 0],
    "hardware.tokens_per_second": [*_REAL, 0],
    "hardware.target": ["toaster", 3, []],
    "prefetch.generations": [*_FROM_ZERO, 1000],
    "prefetch.accept_waste": _YES_NO,
    "prefetch.while_generating": _YES_NO,
    "training": [{"share_work": "perhaps"}, {"share_work": 3}, {"shared_work": True}, [], "x"],
    "tracking.report_to": [["nowhere"], "nowhere", 3, [3]],
    "ekipl.signs.positive": [*_REAL, 11],
    "ekipl.signs.negative": [*_REAL, 11],
    "ekipl.signs.veto": _YES_NO,
    "ekipl.prefix.share": [*_REAL, 1, 0.5],  # 0.5: there is no teacher
    "ekipl.prefix.rows": [*_REAL, 0, 1.5],
    "ekipl.prefix.min_successes": _COUNT,
    "ekipl.refill.rounds": [*_FROM_ZERO, 101],
    "ekipl.refill.causes": [["x"], "all_right", 3, [NAN]],
    "ekipl.distill": [{"path": "nowhere"}, {"path": "configs"}, {"path": 7}, {"pth": "x"}, [],
                      {"path": "assets/policies/counting", "weight": 0},
                      {"path": "assets/policies/counting", "weight": NAN},
                      {"path": "assets/policies/counting", "reward": -1}],
    "ekipl.weighting_params": [{"x": 1}, [], "x"],
    "ekipl.sft.success_only": _YES_NO,
    "ekipl.sft.reinforce": _YES_NO,
    "ekipl.sft.mu": [*_REAL, 2],
    "ekipl.sft.min_successes": _COUNT,
    "ekipl.teacher_gate_successes": _COUNT,
    "reward.weights": [{}, {"accuracy": 0.0}, {"accuracy": NAN}, {"accuracy": INF},
                       {"accuracy": "x"}, {"acuracy": 1.0}, {"accuracy": True}, [1.0]],
    "reward.overlong": [{}, 3, {"buffer": 0}, {"buffer": NAN}, {"buffer": 10**6},
                        {"buffer": 4, "weight": -1}, {"buffer": 4, "weight": NAN},
                        {"bufer": 4}],
    "reward.extra": [3, {"scorer": "ekipl/auto", "weight": 1}, [{"scorer": "ekipl/auto"}],
                     [{"scorer": "ekipl/nothing", "weight": 1}], ["ekipl/auto"],
                     [{"scorer": "ekipl/auto", "weight": NAN}],
                     [{"scorer": "nowhere.py:score", "weight": 1}]],
    "grpo.max_steps": [NAN, INF, 0, -2, HUGE, 1.5, *_TYPES],
    "grpo.learning_rate": [*_REAL, 1e9],
    "grpo.beta": [*_REAL, 1e9],
    "grpo.adam_epsilon": [1e9],
    "grpo.repetition_penalty": [0, 1e9],
    "grpo.temperature": [*_REAL, 0, 1e9, 1e-40],
    "grpo.num_generations": [*_COUNT, 1, 3],
    "grpo.per_device_train_batch_size": [*_COUNT, 6],
    "grpo.gradient_accumulation_steps": _COUNT,
    "grpo.max_completion_length": [*_COUNT, 10**6],
    "grpo.epsilon": [NAN, INF, -0.1, "abc", True],
    "grpo.num_iterations": _COUNT,
    "grpo.top_k": [NAN, -1, -5, 1.5, "abc"],
    "grpo.load_best_model_at_end": [True],
    "grpo.top_p": [NAN, 0, -1, 1.5, "abc"],
    "grpo.weight_decay": [NAN, INF, -1, "abc", 1e9],
    "grpo.warmup_steps": [NAN, -5, "abc", 1],
    "grpo.max_grad_norm": [NAN, -1, "abc"],
    "grpo.adam_beta1": [NAN, 1.5, -1, "abc"],
    "grpo.loss_type": ["gspo", 3, None, []],
    "grpo.optim": ["adamm", 3],
    "grpo.optim_args": ["abc", "width=3"],
    "grpo.lr_scheduler_kwargs": [{"x": 1}],
    "grpo": [{"lr_scheduler_type": "cosine_with_min_lr"},
             {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": -1}},
             {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1}},
             {"dataloader_persistent_workers": True}],
    "grpo.generation_kwargs": [
        {"foo": 1}, {"stop_strings": ["x"]}, {"sequence_bias": {"a": 1}}, {"num_beams": 3},
        {"do_sample": False}, {"max_new_tokens": 8}, {"temperature": 2.0},
        {"num_return_sequences": 2},
    ],
    "grpo.cache_implementation": ["abc"],
    "grpo.activation_checkpointing_kwargs": [{"a": 1}],
    "grpo.dataloader_num_workers": [10**6, -1],
    "grpo.use_vllm": ["yes please", 3],
    "grpo.lr_scheduler_type": ["straight", 3],
    "grpo.reward_funcs": [["x"]],
    "grpo.output_dir": ["/tmp/elsewhere"],
    "grpo.lerning_rate": [1e-6],
    "grpo.accelerator_config": ["nowhere.json", {"split_batch": True}, {"split_batches": "maybe"},
                               {"even_batches": 5}, {"gradient_accumulation_kwargs": "x"},
                               {"gradient_accumulation_kwargs": {"num_steps": 2}},
                               {"gradient_accumulation_kwargs": {"sync_each_batch": "x"}}],
    "grpo.deepspeed": ["nowhere.json", {}, ""],
    "grpo.fsdp": ["abc", 5, ["full_shard"]],
    "grpo.fsdp_config": ["abc", 5, ["a"], {"min_num_params": 5}, {}],
    "grpo.parallelism_config": [{"tp_size": 1}],
    "grpo.sync_ref_model": [True],
    "policy": [None, {}, [], "nano", {"build": "giant"}, {"build": 3}, {"path": 7},
               {"build": "nano", "path": "x"}, {"path": "nowhere"}, {"path": "nowhere/at/all"},
               {"path": "configs"}, {"path": "README.md"}, {"path": ""},
               {"build": "nano", "dtype": "int8"}, {"build": "nano", "quantize": "4bit"},
               {"build": "nano", "adapter": {"rank": 0}}, {"build": "nano", "adapter": {"rnk": 4}},
               {"build": "nano", "adapter": {"targets": ["no_such_layer"]}},
               {"build": "nano", "adapter": {"alpha": NAN}},
               {"build": "nano", "adapter": {"dropout": 1.0}},
               {"build": "nano", "freeze": ["tail"]}, {"build": "nano", "freeze": "vision"},
               {"build": "nano", "freeze": ["vision", "projector", "language"]},
               {"build": "nano", "freeze_vision": "perhaps"},
               {"build": "nano", "attn_implementation": "fast"},
               {"build": "nano", "min_pixels": 9, "max_pixels": 8}],
    "data": [[], "mini", 3, {"benchmark": "maxi"}, {"benchmark": "mini", "task": "chess"},
             {"task": ["counting"]}, {"split": "trian"}, {"families": []}, {"families": ["x"]},
             {"families": "count"}, {"benchmark": "nowhere.yaml"}, {"benchmark": "nowhere/"},
             {"benchmark": "reason_rft", "task": "chess"}, {"benchmark": "reason_rft"},
             {"limit": 1}, {"limit": 7, "image_size": 3}],
    "reward": [{"scorer": "ekipl/nothing"}, {"scorer": ""}, {"scorer": "mine.py:score"},
               {"scorer": "ekipl/calls"}, {"scorer": "README.md:x"}, {"scorer": 3}, [],
               "ekipl/auto"],
    "evaluation": [[], {"sets": {}}, {"sets": [{"split": "tset"}]}, {"sets": [{}, {}]},
                   {"sets": [{"task": "chess"}]}, {"sets": [{"families": ["x"]}]},
                   {"sets": [{"name": "a/b"}]}, {"sets": [{"name": "x" * 200}]}, {"sets": [3]},
                   {"sampled": "sometimes"}, {"at_start": "perhaps"}, {"evry": 5},
                   {"sets": [{"limit": 2}], "every": 3, "num_samples": 1, "ks": [2]}],
    "ekipl": [{"selection": "best"}, {"params": {"x": 1}}, {"weighting": "light"},
              {"baseline": "none"}, {"scale_rewards": "batch"}, {"schedules": {"x": [[0, 1]]}},
              {"schedules": {"teacher_weight": [[0, 1]]}}, {"params": {"keep_failures": 99}},
              {"params": {"keep_failures": "a"}}, {"selection": "quota", "params": {"choose": "x"}},
              {"weighting": "shaped", "weighting_params": {"gamma": 0}},
              {"teacher_gates": {"*": {"chess": "off"}}}, {"teacher_gates": {"x": {"*": "never"}}},
              {"teacher_gates": "nowhere.json"}, {"run_budget": {"usd": -1}},
              {"run_budget": {"euro": 1}}, {"run_budget": {"usd": NAN}}, {"sft": {"type": "some"}},
              {"sft": {"type": "chord_mu"}}, [], {"selection": 3}, {"params": []}],
    "name": ["", "a/b", "../a", ".hidden", "x" * 300, 7, None, [], "a b", "a\nb"],
    "tracking": [{"experiment": ""}, {"experiment": "  "}, {"experiment": "x" * 500},
                 {"experiment": 3}, {"tags": {"a": 1}}, {"tags": {"a\nb": "x"}},
                 {"tags": {"": "x"}}, {"tags": {"a" * 300: "x"}}, {"tags": {"a": "x" * 9000}},
                 {"tags": {"../a": "x"}}, {"tags": {"mlflow.runName": "x"}},
                 {"tags": {"ekipl.name": "x"}}, {"tags": [1]}, {"experimnt": "x"}],
    "hardware": [{"sharding": "zero9"}, {"images": -1}, {"image_side": 3}, {"text_tokens": 0}],
    "polcy": [{"build": "nano"}],
    "teachers": [3, {}, [3], [{}], [{"type": "oracle"}], [{"id": "a"}],
                 [{"type": "sage", "id": "a"}], [{"type": "oracle", "id": "a"}] * 2,
                 [{"type": "oracle", "id": "policy"}], [{"type": "oracle", "id": "a b"}],
                 [{"type": "oracle", "id": ""}], [{"type": "oracle", "id": "x" * 300}]],
}  # fmt: skip

#: Settings of a teacher that cannot be.
TEACHERS: list[dict[str, Any]] = [
    *({"type": "oracle", "accuracy": value} for value in (NAN, INF, -1, 2, "x", True)),
    *({"type": "oracle", "actions": value} for value in _COUNT),
    *({"type": "oracle", "seed": value} for value in (NAN, -1, HUGE, 2**70, "x", 1.5, True)),
    {"type": "oracle", "style": "rhyme"}, {"type": "oracle", "fault_mode": "some"},
    {"type": "oracle", "acuracy": 1.0}, {"type": "random", "answers": 3}, {"type": "replay"},
    {"type": "replay", "cot": True},
    {"type": "replay", "cot": True, "actions": 2},
    {"type": "replay", "path": "nowhere.jsonl"}, {"type": "replay", "path": "README.md"},
    {"type": "replay", "path": "configs"}, {"type": "local"}, {"type": "local", "path": "nowhere"},
    {"type": "local", "path": "nowhere/at/all"}, {"type": "policy", "path": "configs"},
    {"type": "local", "path": "README.md"},
    {"type": "local", "path": "assets/policies/counting", "dtype": "int4"},
    {"type": "local", "path": "assets/policies/counting", "device": "tpu7"},
    *({"type": "local", "path": "assets/policies/counting", "temperature": value}
      for value in (NAN, INF, -1, "x", 1e9, 1e-40)),
    {"type": "local", "path": "assets/policies/counting", "max_tokens": 0},
    {"type": "random", "answers": [""]}, {"type": "random", "answers": ["4</answer>"]},
    {"type": "openai"}, {"type": "openai", "model": ""},
    *({"type": "openai", "model": "m", "temperature": value} for value in (INF, 1e9)),
    {"type": "openai", "model": "m", "api_key_env": "sk-not-a-name"},
    {"type": "openai", "model": "m", "base_url": "no address"},
    *({"type": "openai", "model": "m", "base_url": "http://127.0.0.1:9", "gateway": gateway}
      for gateway in ({"budget": {"usd": NAN}}, {"budget": {"usd": INF}}, {"budget": {"calls": -1}},
                      {"retries": -1}, {"timeout": INF}, {"timeout": 0}, {"backoff": NAN},
                      {"in_flight": 0}, {"on_error": "shrug"}, {"price": {"input": NAN}},
                      {"max_wait": INF}, {"cach": "x"}, [])),
    {"type": "python", "class": "nowhere.py:Mine"}, {"type": "python", "class": "README.md:Mine"},
    {"type": "python"}, {"type": "ensemble", "members": []},
    {"type": "ensemble", "members": [{"type": "local", "id": "m", "path": "nowhere"}]},
    {"type": "ensemble", "members": [{"type": "oracle", "id": "m"}], "each": "x"},
    {"type": "ensemble", "members": [{"type": "oracle", "id": "m"}], "each": 0},
]  # fmt: skip

_TEXT = yaml.safe_dump(BASE)
#: Settings under ``sft:`` of a recipe that supervises, and values that they cannot have.
SUPERVISED: dict[str, list[Any]] = {
    "epochs": [*_REAL, 0, 1001],
    "batch_size": _COUNT,
    "actions": [NAN, INF, -1, 0, 1.5, "abc", []],
    "learning_rate": _REAL, "matrix_lr": _REAL, "rest_lr": _REAL,
    "warmup": [*_FROM_ZERO, 1.5],
    "final": [*_REAL, 2],
    "average": [*_REAL, 0, 1.5],
    "validation": [*_REAL, 1],
    "validate_every": _COUNT, "patience": _COUNT, "rollouts": _COUNT,
    "learn": ["chain", 3, []], "trainer": ["adam", 3], "weighting": ["x", 1],
    "success_only": _YES_NO, "epoch": [2],
}  # fmt: skip
#: Recipes that cannot be, of a run without teachers.
RECIPES: list[Any] = ["papper", "", 3, [], {}, True, "zero_shot", "distill", "sft_actions", "rasft"]

#: Files that are no settings.
FILES: dict[str, bytes] = {
    "empty": b"", "blank": b" \n \n", "comment": b"# nothing\n", "list": b"- a\n- b\n",
    "word": b"word", "number": b"17", "latin-1": _TEXT.encode() + "# é\n".encode("latin-1"),
    "utf-16": _TEXT.encode("utf-16"), "utf-32": _TEXT.encode("utf-32"),
    "nul": _TEXT.encode() + b"\0", "png": b"\x89PNG\r\n\x1a\n", "zip": b"PK\x03\x04\xff\xfe",
    "tab": b"policy:\n\tbuild: nano\n", "doubled key": _TEXT.encode() + b"seed: 1\nseed: 2\n",
    "doubled section": _TEXT.encode() + b"policy: {build: nano}\n",
    "doubled in flow": b"policy: {build: nano, build: nano}\n",
    "unclosed": b"policy: {build: nano\n", "unclosed quote": b"name: 'a\n", "colon": b"a: b: c\n",
    "anchor": b"policy: *nowhere\n", "two documents": _TEXT.encode() + b"---\nseed: 1\n",
    "python tag": b"policy: !!python/object:os.system {}\n", "own tag": b"seed: !mine 3\n",
    "deep": b"[" * 5000, "deep map": b"a: {" * 3000, "long int": b"seed: " + b"9" * 5000,
    "loop": b"a: &x [*x]\npolicy: {build: nano}\n", "number key": _TEXT.encode() + b"1: 2\n",
    "list key": _TEXT.encode() + b"? [a]\n: 1\n", "null key": _TEXT.encode() + b"~: 1\n",
    "merge": b"<<: 3\npolicy: {build: nano}\n", "surrogate": b'name: "\\ud800"\n' + _TEXT.encode(),
    "date": b"seed: 2026-01-01\n" + _TEXT.encode(), "octal": b"seed: 0o17\n" + _TEXT.encode(),
    "sexagesimal": b"seed: 1:75:99\n" + _TEXT.encode(),
    "merge of a word": b"policy: {<<: nano}\n",
}  # fmt: skip
OVERRIDES = [
    "seed", "=1", "seed=", "a.b.c=1", "seed=[", "evaluation.sets.9.limit=1", "seed.x=1",
    "evaluation.sets.x.limit=1", "grpo..beta=1", "seed=\t1: {", "policy.build.x=1", "teachers.0=1",
    "seed=1\x00", "data.limit=9" + "9" * 5000, "grpo.beta=!!python/name:os.system x", ".=1",
]  # fmt: skip


def own_data(folder: Path) -> dict[str, dict[str, Any]]:
    """Wrong uses of data of one's own, which are written into ``folder``."""
    for index in range(8):
        Image.new("RGB", (60, 60), (index * 20, 9, 9)).save(folder / f"{index}.png")
    Image.new("RGB", (1500, 4)).save(folder / "strip.png")
    rows = [{"id": i, "image": f"{i}.png", "q": f"How many of {i}?", "a": i} for i in range(8)]
    description = {
        "name": "own", "task": "t", "answer_type": "number", "images": ".",
        "columns": {"id": "id", "image": "image", "question": "q", "answer": "a"},
    }  # fmt: skip

    def write(file: str, changes: dict[int, dict[str, Any]], **settings: Any) -> str:
        changed = [row | changes.get(index, {}) for index, row in enumerate(rows)]
        text = "".join(json.dumps(row) + "\n" for row in changed)
        (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
        splits = {"train": f"{file}.jsonl", "test": f"{file}.jsonl"}
        path = folder / f"{file}.yaml"
        path.write_text(yaml.safe_dump(description | {"splits": splits} | settings), "utf-8")
        return str(path)

    def recording(name: str, samples: list[Any]) -> str:
        path = folder / f"recording-{name}.jsonl"
        path.write_text("".join(json.dumps({"sample_id": str(sample), "completion": "x"}) + "\n"
                                for sample in samples))  # fmt: skip
        return str(path)

    sound = write("sound", {})
    data = {"benchmark": sound, "task": "t", "limit": 8}
    broken = {
        "no such image": {3: {"image": "none.png"}},
        "image outside": {3: {"image": "../x.png"}},
        "text as image": {3: {"image": "sound.jsonl"}},
        "strip": {3: {"image": "strip.png"}},
        "no question": {3: {"q": ""}},
        "truth no number": {3: {"a": "three"}},
        "truth a time": {3: {"a": "12:30"}},
        "truth null": {3: {"a": None}},
        "id twice": {3: {"id": 4}},
        "special token": {3: {"q": "What is <|image_pad|> here?"}},
        "surrogate": {3: {"q": "What \ud800?"}},
        "prompt too long": {3: {"q": "word " * 5000}},
    }
    settings: dict[str, dict[str, Any]] = {
        "no test split": {"splits": {"train": "sound.jsonl"}},
        "unknown split": {"splits": {"trian": "sound.jsonl"}},
        "no such file": {"splits": {"train": "none.jsonl", "test": "none.jsonl"}},
        "unknown setting": {"answertype": "number"},
        "unknown answer type": {"answer_type": "poem"},
        "tolerance nan": {"tolerance": NAN},
        "tolerance negative": {"tolerance": -1},
        "tolerance infinite": {"tolerance": INF},
        "no such column": {"columns": description["columns"] | {"question": "Q"}},
        "prompt without question": {"prompt": "Answer."},
        "unreachable hub": {"hub": "nobody/nothing-at-all"},
        "name with a blank": {"name": "a b"},
    }
    wrong: dict[str, dict[str, Any]] = {
        f"own data, {name}": {"data": data | {"benchmark": write(name.replace(" ", "_"), changes)}}
        for name, changes in broken.items()
    }
    for name, change in settings.items():
        path = write(name.replace(" ", "-"), {}, **change)
        wrong[f"own data, {name}"] = {"data": data | {"benchmark": path}}
    (folder / "double.yaml").write_text(Path(sound).read_text("utf-8") + "task: u\n", "utf-8")
    (folder / "latin.yaml").write_bytes(Path(sound).read_bytes() + b"licence: \xe9\n")
    return wrong | {
        "own data, doubled key": {"data": data | {"benchmark": str(folder / "double.yaml")}},
        "own data, latin-1": {"data": data | {"benchmark": str(folder / "latin.yaml")}},
        "own data, another task": {"data": data | {"task": "u"}},
        "own data, another family": {"data": data | {"families": ["u"]}},
        "own data, image size 0": {"data": data | {"image_size": 0}},
        "own data, an oracle": {"data": data, "teachers": [{"type": "oracle", "id": "a"}]},
        "own data, chains": {"data": data, "teachers": [{"type": "replay", "id": "a",
                                                         "cot": True}]},
        "own data, chains of some": {
            "data": data | {"benchmark": write("some", {i: {"cot": "Look."} for i in range(7)},
                                               columns=description["columns"] | {"cot": "cot"})},
            "teachers": [{"type": "replay", "id": "a", "cot": True}], "grpo": {"max_steps": 40}},
        "own data, bought ahead of no gateway": {
            "data": data, "prefetch": {"generations": 2}, "evaluation": {"sets": []},
            "teachers": [{"type": "replay", "id": "a",
                          "path": recording("all", list(range(8)))}]},
        **{f"own data, a recording of {name}": {"data": data, "teachers": [
            {"type": "replay", "id": "a", "path": recording(name, rows), "actions": actions}]}
           for name, rows, actions in (("nothing", [], 1), ("others", ["x"], 1),
                                       ("one action", list(range(8)), 2))},
        "own data, evaluation split": {"data": data, "evaluation": {"sets": [
            {"split": "test_ood"}]}},
    }  # fmt: skip


def with_value(settings: dict[str, Any], setting: str, value: Any) -> dict[str, Any]:
    """A copy of ``settings`` with one value changed; ``setting`` is its path, list items by number.

    Settings of a section are put over those of the base.
    """
    changed = copy.deepcopy(settings)
    *parents, last = setting.split(".")
    target: Any = changed
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    together = isinstance(value, dict) and isinstance(target.get(last), dict) and value
    target[last] = {**target[last], **value} if together and last != "policy" else value
    return changed


def wrong_configs(folder: Path) -> list[tuple[str, Path, list[str]]]:
    """What is wrong, the file, and overrides of it, of every config; written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, bytes] = {f"file: {name}": content for name, content in FILES.items()}

    def add(name: str, settings: Any) -> None:
        texts[name] = yaml.dump(settings, Dumper=yaml.SafeDumper).encode()

    for setting, values in VALUES.items():
        for value in values:
            shown = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
            add(f"{setting}: {shown}", with_value(BASE, setting, value))
    for spec in TEACHERS:
        shown = ", ".join(f"{key} {value!r}"[:40] for key, value in spec.items())
        add(f"teacher: {shown}", {**BASE, "teachers": [{"id": "a", **spec}]})
    for recipe in RECIPES:
        add(f"recipe: {recipe!r}", {**BASE, "recipe": recipe})
    for key, values in SUPERVISED.items():
        for value in values:
            shown = {**BASE, "recipe": "ans_sft", "sft": {key: value}}
            add(f"sft.{key}: {value!r}"[:60], shown)
    add("sft without a recipe", {**BASE, "sft": {"epochs": 2}})
    add("sft of a recipe without", {**BASE, "recipe": "grpo", "sft": {"epochs": 2}})
    add("sft a list", {**BASE, "recipe": "ans_sft", "sft": ["epochs"]})
    for name, settings in own_data(folder).items():
        add(name, {**BASE, **settings})
    found = []
    for number, (name, content) in enumerate(texts.items()):
        path = folder / f"wrong-{number:03d}.yaml"
        path.write_bytes(content)
        found.append((name, path, list[str]()))
    plain = folder / "plain.yaml"
    plain.write_text(_TEXT, encoding="utf-8")
    return found + [(f"override {given[:30]!r}", plain, [given]) for given in OVERRIDES]


class Accepted(Exception):
    """The run would make its MLflow run now: nothing more can be wrong with its config."""


def judged(path: Path, overrides: list[str], store: Path) -> list[str]:
    """What is amiss with how ``--dry-run`` and the run take a wrong config; nothing if all is well.

    MLFLOW_TRACKING_URI must name ``store``/mlflow.db.
    """
    import contextlib
    import io
    from unittest import mock

    from ekipl_lab.commands import cli

    said, amiss = [], []
    for flags in (["--dry-run"], []):
        out, err = io.StringIO(), io.StringIO()
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                mock.patch("ekipl_lab.training.starts.open_run", side_effect=Accepted),
            ):
                code: Any = cli.main(["train", "--config", str(path), *flags, *overrides])
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            code = f"{type(error).__name__}: {str(error)[:300]}"
        last = err.getvalue().strip().splitlines() or [""]
        said.append((code, last[0] if code == 2 else ""))
        if code != 2:
            amiss.append(f"{' '.join(flags) or 'run'} ends with {code}")
    by_memory = "GiB on each process" in said[0][1]  # which a run finds out when it is too late
    if not amiss and said[0] != said[1] and not by_memory:
        amiss.append(f"dry run and run differ: {said}")
    left = [p for p in store.rglob("*") if p.is_file() and "work" in p.parts]
    if left:
        amiss.append(f"left behind: {[str(p.relative_to(store)) for p in left][:3]}")
    if (store / "mlflow.db").is_file():
        amiss.append("a store was made")
    return amiss


if __name__ == "__main__":
    import os
    import shutil
    import sys
    import tempfile
    import time

    words = sys.argv[1:] or [""]
    root = Path(tempfile.mkdtemp(prefix="wrong-"))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/store/mlflow.db"
    os.environ.pop("EKIPL_REASON_RFT", None)
    configs = [one for one in wrong_configs(root / "configs") if any(w in one[0] for w in words)]
    faults = 0
    for name, path, overrides in configs:
        began = time.monotonic()
        amiss = judged(path, overrides, root / "store")
        if amiss:
            faults += 1
            print(f"{name} [{time.monotonic() - began:.1f} s]\n    " + "\n    ".join(amiss))
            from ekipl_lab.tracking import store as opened

            opened._prepare.cache_clear()
            opened._client.cache_clear()
            shutil.rmtree(root / "store", ignore_errors=True)
    print(f"{len(configs)} wrong configs, {faults} with faults")
    shutil.rmtree(root)

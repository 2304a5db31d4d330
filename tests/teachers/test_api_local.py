"""A model on this machine as teacher, several teachers as one, and their specs."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_kit import PARAMS, gateway_spec, numbered
from fault_server import FaultServer

from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.policies import build_tiny_policy, save_policy
from ekipl_lab.prompts import instructed, instructed_text, prompt_text
from ekipl_lab.teachers.adapters.local import LocalSpec, weights_fingerprint
from ekipl_lab.teachers.build import build_teachers, teacher_spec
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.spec import TeacherContext
from ekipl_lab.types import ActionSource, GenerationParams, Sample

SHORT = GenerationParams(temperature=1.0, max_new_tokens=8, seed=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    model, processor = build_tiny_policy("nano", seed=0)
    return save_policy(model, processor, tmp_path_factory.mktemp("policy") / "nano")


def pictured(number: int, images: int = 1) -> Sample:
    return numbered(number, images=images, id=f"mini/t/{number}")


def local(checkpoint: Path, **settings: Any) -> ActionSource:
    spec = LocalSpec(id="big", path=str(checkpoint), **settings)
    return spec.build(TeacherContext())


def test_a_local_teacher_gives_batched_actions_with_log_probabilities(checkpoint: Path) -> None:
    teacher = local(checkpoint)
    samples = [pictured(1), pictured(2, images=2), pictured(3)]
    rows = teacher.propose(samples, 3, SHORT)
    assert [len(row) for row in rows] == [3, 3, 3]
    assert teacher.capabilities.logprobs
    for action in (action for row in rows for action in row):
        assert action.source == "big"
        assert action.logprobs is not None and action.token_ids is not None
        assert len(action.logprobs) == len(action.token_ids) <= 8
        assert max(action.logprobs) <= 0.0
        assert action.tokenizer_id == teacher.capabilities.tokenizer_id
    alone = teacher.propose([samples[2]], 3, SHORT)[0]
    assert [a.token_ids for a in alone] == [a.token_ids for a in rows[2]]
    redrawn = teacher.propose([samples[2]], 3, replace(SHORT, seed=4))[0]
    assert [a.token_ids for a in redrawn] != [a.token_ids for a in alone]


def test_it_does_not_move_the_callers_random_state(checkpoint: Path) -> None:
    teacher = local(checkpoint)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    teacher.propose([pictured(1)], 2, SHORT)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_a_cached_local_teacher_generates_once_and_replays_offline(
    checkpoint: Path, tmp_path: Path
) -> None:
    block = gateway_spec(tmp_path)
    plain = local(checkpoint).propose([pictured(1), pictured(2)], 2, replace(SHORT, seed=None))
    teacher = local(checkpoint, gateway=block)
    assert isinstance(teacher, CachedSource)
    samples = [pictured(1), pictured(2), pictured(1)]
    first = teacher.propose(samples, 2, replace(SHORT, seed=None))
    assert (teacher.generated, teacher.hits) == (2, 0)
    assert first == [plain[0], plain[1], plain[0]]
    again = teacher.propose(samples, 2, replace(SHORT, seed=8))
    assert (teacher.generated, teacher.hits) == (2, 3)
    assert again[0][0].usage is not None and again[0][0].usage.cached
    offline = local(checkpoint, gateway=block.model_copy(update={"offline": True}))
    assert offline.propose(samples, 2, SHORT) == again
    with pytest.raises(TeacherError, match=r"'big' is offline and .* for sample mini/t/9"):
        offline.propose([pictured(1), pictured(9)], 2, SHORT)
    other_seed = local(checkpoint, gateway=block.model_copy(update={"offline": True}), seed=1)
    with pytest.raises(TeacherError, match="is offline"):
        other_seed.propose(samples, 2, SHORT)


def test_a_fingerprint_changes_with_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    assert weights_fingerprint(str(copy)) == weights_fingerprint(str(checkpoint))
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert weights_fingerprint(str(copy)) != weights_fingerprint(str(checkpoint))
    assert weights_fingerprint("owner/model") == "owner/model"


def test_a_fingerprint_changes_with_the_chat_template(checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint from elsewhere has no list of digests that would refuse the change."""
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    before = weights_fingerprint(str(copy))
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + "Think first.")
    assert weights_fingerprint(str(copy)) != before


def test_an_adapter_is_another_teacher_with_another_base(checkpoint: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(checkpoint, tmp_path / "base"))
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    spec = LocalSpec(id="big", path=str(folder))
    before = spec.fingerprint()
    (base / "generation_config.json").write_text("{}")
    assert spec.fingerprint() != before


def test_an_instructed_teacher_is_told_the_form(checkpoint: Path) -> None:
    class Recorder:
        id = "big"
        capabilities = local(checkpoint).capabilities

        def propose(self, samples: Any, num_actions: int, params: Any) -> Any:
            self.prompts = [prompt_text(sample) for sample in samples]
            self.params = params
            return [[] for _ in samples]

    from ekipl_lab.teachers.adapters.local import LocalTeacher

    spec = LocalSpec(id="big", path="x", instructed=True, max_tokens=99, temperature=0.5)
    recorder = Recorder()
    LocalTeacher(recorder, spec).propose([pictured(1)], 1, SHORT)
    assert recorder.prompts == [instructed_text(pictured(1))]
    assert recorder.prompts[0].startswith("Question 1?\n\nFirst write your reasoning")
    bare = spec.model_copy(update={"instructed": False})
    LocalTeacher(recorder, bare).propose([instructed(pictured(1))], 1, SHORT)
    assert recorder.prompts == ["Question 1?"]  # as it was trained, whatever the policy is asked
    assert (recorder.params.max_new_tokens, recorder.params.temperature) == (99, 0.5)


def member(server: FaultServer, tmp_path: Path, name: str) -> dict[str, Any]:
    return {
        "type": "openai",
        "id": name,
        "model": name,
        "base_url": server.url + "/v1",
        "gateway": gateway_spec(tmp_path).model_dump(mode="json"),
    }


def test_an_ensemble_is_m_teachers_with_k_actions(checkpoint: Path, tmp_path: Path) -> None:
    with FaultServer() as server:
        members = [
            member(server, tmp_path, "a"),
            {"type": "local", "id": "big", "path": str(checkpoint)},
            member(server, tmp_path, "b"),
        ]
        spec = teacher_spec({"type": "ensemble", "id": "panel", "members": members, "each": 2})
        assert spec.actions == 6
        (panel,) = build_teachers([spec])
        rows = panel.propose([pictured(1), pictured(2)], 6, SHORT)
        with pytest.raises(ConfigError, match="3 members; 4 actions"):
            panel.propose([pictured(1)], 4, SHORT)
        assert server.tally.received == 8
    for number, row in enumerate(rows, start=1):
        assert {action.source for action in row} == {"panel"}
        models = [action.model_id for action in row]
        assert models == ["a/a-served"] * 2 + ["big/nano"] * 2 + ["b/b-served"] * 2
        assert f"<answer>{number}</answer>" in row[0].completion
    assert not panel.capabilities.logprobs
    with pytest.raises(ConfigError, match=r"leave it out"):
        teacher_spec({"type": "ensemble", "id": "p", "members": members, "actions": 5})
    with pytest.raises(ConfigError, match=r"Two teachers have the id 'a'"):
        twice = {"type": "ensemble", "id": "p", "members": [members[0], members[0]]}
        build_teachers([teacher_spec(twice)])
    for each in (None, [1], "x", 0):
        with pytest.raises(ConfigError, match=r"^Teacher 'p': each "):
            teacher_spec({"type": "ensemble", "id": "p", "members": members, "each": each})


def test_specs_build_gateways_and_name_what_is_unknown(tmp_path: Path) -> None:
    with FaultServer() as server:
        (teacher,) = build_teachers([teacher_spec(member(server, tmp_path, "gpt"))])
        assert isinstance(teacher, Gateway)
        assert teacher.propose([numbered(1)], 1, PARAMS)[0][0].source == "gpt"
    with pytest.raises(ConfigError, match=r"'modle'; did you mean 'model'"):
        teacher_spec({"type": "openai", "id": "x", "modle": "m"})
    with pytest.raises(ConfigError, match=r"'opnai'; did you mean 'openai'"):
        teacher_spec({"type": "opnai", "id": "x"})
    with pytest.raises(ConfigError, match=r"gateway.budget.dollars"):
        teacher_spec(
            {"type": "openai", "id": "x", "model": "m", "gateway": {"budget": {"dollars": 1}}}
        )

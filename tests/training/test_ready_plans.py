"""`--dry-run` of every ready config against a hand count from the published widths alone."""

import pytest

from ekipl_lab.commands import cli
from ekipl_lab.training.memory.components import GIB

#: Parameters of all, hidden, MLP, width of keys, layers, vocabulary (the models' configurations).
TWO_B = (2_208_985_600, 1536, 8960, 256, 28, 151_936)
THREE_B = (3_754_622_976, 2048, 11008, 256, 36, 151_936)
SEVEN_B = (8_292_166_656, 3584, 18944, 512, 28, 152_064)
#: 448 x 448 pixels in cells of 28 are 16 x 16 tokens, beside 256 of text, before 512 or 1,024.
PROMPT = 256 + 16 * 16


def printed(capsys, monkeypatch, name):
    monkeypatch.delenv("EKIPL_REASON_RFT", raising=False)
    monkeypatch.setattr("ekipl_lab.training.setup.published_at_hand", lambda: False)
    assert cli.main(["train", "--dry-run", "--config", f"configs/{name}.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line[:24].strip(): line[24:].split() for line in lines if len(line) > 24}, lines


def gib(lines, part):
    (line,) = [line for line in lines if line.strip().startswith(f"{part}  ")]
    return float(line.removesuffix("GiB").split()[-1])


@pytest.mark.parametrize(
    ("name", "model", "adapter_bytes"),
    [
        ("qwen2_vl_2b_16gb", TWO_B, 2),
        ("qwen2_vl_2b_t4_16gb", TWO_B, 4),  # a gradient scaler wants float32
        ("qwen2_5_vl_3b_16gb", THREE_B, 2),
        ("qwen2_5_vl_7b_24gb", SEVEN_B, 2),
    ],
)
def test_qlora(capsys, monkeypatch, name, model, adapter_bytes):
    """Rank 16 in seven linear layers, 500 steps of 4 prompts x 8, 6 evaluations of 128 items."""
    said, lines = printed(capsys, monkeypatch, name)
    everything, hidden, mlp, keys, layers, vocabulary = model
    ends = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + mlp)
    linear = layers * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * mlp)
    adapter = 16 * layers * ends
    assert f"{everything:,} parameters, {adapter:,} trained" in "\n".join(lines)
    # 4 bits, a float8 scale for 64 weights, a float32 scale for 256 of those
    weights = linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + (everything - linear) * 2
    by_hand = {
        "weights": weights,
        "adapters": adapter * adapter_bytes,
        "optimizer": 2 * adapter * adapter_bytes,
        "images": 32 * 32 * 32 * 1176 * 4,  # 32 x 32 patches of 2 x 3 x 14 x 14 values
        "backward: gradients": adapter * adapter_bytes,
        "generation: kv cache": 32 * (PROMPT + 512) * layers * 2 * keys * 2,
        "generation: sampling": 3 * 32 * vocabulary * 4,
    }
    for part, size in by_hand.items():
        assert gib(lines, part) == pytest.approx(size / GIB, abs=6e-4), part
    assert said["policy completions"] == [str(500 * 4 * 8)]
    assert said["teacher actions"] == ["chains", str(500 * 4)]
    assert said["evaluation completions"] == [str(6 * 128 + 2 * 128 * 8)]  # sampled at the ends
    # weights and two states of AdamW; the last two, and one in work
    assert gib(lines, "2 checkpoints, 1 in work") == pytest.approx(
        3 * 3 * adapter * adapter_bytes / GIB, abs=6e-4
    )


def test_seven_billion_on_eight_gpus(capsys, monkeypatch):
    """float32 weights, AdamW and gradients in eight parts; vision (0.68 billion) stays."""
    said, lines = printed(capsys, monkeypatch, "qwen2_5_vl_7b_8gpus")
    everything, hidden, _, _, _, vocabulary = SEVEN_B
    trained = everything - 676_550_144
    by_hand = {
        "weights": everything * 4 / 8,
        "optimizer": trained * 8 / 8,
        "vllm": 0.3 * 79 * GIB,
        "images": 16 * 32 * 32 * 1176 * 4,
        "backward: gradients": trained * 4 / 8,
        "backward: autocast copies": trained * 2 / 8,
        "libraries": 8 * 3 * GIB,
        "weights, or what is saved": 8 * everything * 4 * 1.0,
    }
    for part, size in by_hand.items():
        assert gib(lines, part) == pytest.approx(size / GIB, abs=6e-4), part
    assert said["policy completions"] == [str(500 * 16 * 8)]
    assert said["teacher actions"] == ["chains", str(500 * 16)]
    assert said["evaluation completions"] == ["0"]
    assert hidden * vocabulary == 544_997_376  # the head, apart from the embedding

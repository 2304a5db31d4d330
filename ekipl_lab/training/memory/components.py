"""How much accelerator memory a run takes, part by part, before anything is loaded. Pure.

Every figure is bytes on one process. What is kept for the backward pass follows from the widths
(`layer_bytes`); what frameworks add (context, fragmentation) is an allowance, not a measurement.
The largest moment counts: the backward pass, or generation, each with what stays all the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ekipl_lab.training.memory.shape import ModelShape, Tower

GIB = 2**30
Engine = Literal["transformers", "vllm", "vllm asleep"]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
#: 4-bit NF4 in blocks of 64 with double quantization: 4 + 8/64 + 32/(64 * 256) bits (QLoRA).
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
#: Bytes of optimiser state per trained parameter of 4 bytes; others count as AdamW.
OPTIMIZER_STATES = {"sgd": 0, "adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2}
#: Tiles of TRL's chunked log-probabilities: tokens x vocabulary entries at a time.
TILE = (4096, 32768)
#: Context of the device and its libraries, and the share lost to fragmentation.
CONTEXT, FRAGMENTATION = int(0.8 * GIB), 0.05


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run asks of one process.

    ``rows`` go forward and backward at once, ``generated`` completions make up one generation, and
    ``sampled`` rows (of a generation or an evaluation) are sampled by transformers at once. Prompts
    have ``text_tokens`` and ``images`` squares of ``side`` pixels. ``shards`` processes share
    weights, gradients and optimiser states (FSDP, ZeRO-3). ``compute`` is the type of activations.
    ``engine_bytes`` is what vLLM takes beside the training, always or (asleep while training)
    during generation alone.
    """

    rows: int
    generated: int
    sampled: int
    text_tokens: int
    images: int
    side: int
    completion: int
    dtype: str = "float32"
    compute: str = "float32"
    rank: int | None = None
    targets: tuple[str, ...] = ()
    quantized: bool = False
    freeze_vision: bool = False
    freeze: tuple[str, ...] = ()
    checkpointing: bool = False
    reference: bool = False
    optimizer: str = "adamw_torch"
    shards: int = 1
    engine: Engine = "transformers"
    engine_bytes: int = 0
    gpu: bool = True


@dataclass(frozen=True, slots=True)
class Prediction:
    """Bytes by part; `total` is the larger of the two moments."""

    always: Mapping[str, int]
    backward: Mapping[str, int]
    generation: Mapping[str, int]
    allowance: int

    @property
    def total(self) -> int:
        """The most that is held at once."""
        moments = (sum(self.backward.values()), sum(self.generation.values()))
        return sum(self.always.values()) + max(moments) + self.allowance


def predict(shape: ModelShape, work: Workload) -> Prediction:
    """The memory of one process of a run."""
    trained = trained_parameters(shape, work)
    width = adapter_width(work)
    per_weight = width if work.rank is not None else BYTES[work.dtype]
    image_tokens, patches = shape.image(work.side)
    prompt = work.text_tokens + work.images * image_tokens
    sequence = prompt + work.completion
    always = {
        "weights": weight_bytes(shape, work) // work.shards,
        "adapters": trained * width if work.rank is not None else 0,
        "optimizer": optimizer_bytes(trained, per_weight, work.optimizer) // work.shards,
        "reference": shape.parameters * BYTES[work.dtype] // work.shards if work.reference else 0,
        "images": work.generated * work.images * patches * shape.patch_values * 4,
        "vllm": work.engine_bytes if work.engine == "vllm" else 0,
    }
    backward = {
        "gradients": trained * per_weight // work.shards,
        "activations": activation_bytes(shape, work, work.rows * sequence, patches),
        "log-probabilities": logprob_bytes(shape, work, work.rows, sequence),
        "gathered layers": gathered_bytes(shape, work),
        "autocast copies": autocast_bytes(shape, work),
    }
    generation = generation_bytes(shape, work, prompt)
    held = sum(always.values()) + max(sum(backward.values()), sum(generation.values()))
    allowance = CONTEXT + int(FRAGMENTATION * held) if work.gpu else 0
    return Prediction(always, backward, generation, allowance)


def adapter_width(work: Workload) -> int:
    """Bytes of an adapter's weight: TRL has those of quantized models in bfloat16, but a gradient

    scaler (float16) wants float32.
    """
    return 2 if work.quantized and work.compute != "float16" else 4


def trained_parameters(shape: ModelShape, work: Workload) -> int:
    """How many parameters get gradients."""
    if work.rank is not None:
        return sum(work.rank * (i + o) for i, o in shape.adapted(work.targets))
    parts = {
        "vision": shape.vision_parameters - shape.projector_parameters,
        "projector": shape.projector_parameters,
        "language": shape.parameters - shape.vision_parameters,
    }
    return sum(count for part, count in parts.items() if part not in frozen_parts(work))


def frozen_parts(work: Workload) -> set[str]:
    """The parts of the model that get no gradients, where its own weights are trained."""
    return {*work.freeze, *(("vision", "projector") if work.freeze_vision else ())}


def weight_bytes(shape: ModelShape, work: Workload) -> int:
    """Weights of the policy; in 4 bits its linear layers only, not embedding, head and vision."""
    each = BYTES[work.dtype]
    if not work.quantized:
        return shape.parameters * each
    linear = shape.linear_parameters()
    return int(linear * NF4_BYTES) + (shape.parameters - linear) * each


def optimizer_bytes(trained: int, per_weight: int, name: str) -> int:
    """States of the optimiser: AdamW's two in the type of the weights, unless known otherwise."""
    return trained * OPTIMIZER_STATES.get(name, 2 * per_weight)


def layer_bytes(tower: Tower, compute: int) -> int:
    """Bytes per token that one layer keeps for its backward pass (fused attention).

    Every norm keeps its input in float32 and its output; attention keeps queries, keys and values
    before and after the rotation, its output and the log-sum of every head; a gated MLP keeps
    gate, activated gate, up and their product; two residual sums stand between.
    """
    queries = tower.heads * tower.head_dim
    keys = tower.kv_heads * tower.head_dim
    kept = 2 * tower.hidden + 3 * queries + 4 * keys + 4 * tower.mlp
    normed = tower.norms * tower.hidden + tower.head_norms * (queries + keys) // 2
    return compute * kept + (compute + 4) * normed + 4 * tower.heads


def activation_bytes(shape: ModelShape, work: Workload, tokens: int, patches: int) -> int:
    """Activations kept for the backward pass of ``tokens`` tokens.

    With checkpointing, one residual per layer and one whole layer. A frozen vision tower keeps
    nothing; its one layer in flight is less than a layer of the language model.
    """
    compute = BYTES[work.compute]
    language = tower_bytes(shape.language, compute, tokens, work.checkpointing)
    if work.rank is not None and adapter_width(work) == 4 and compute == 2:
        # adapters in float32 keep copies of their layers' inputs
        inputs = sum(i for i, _ in shape.adapted(work.targets)) * 4 * tokens
        language += inputs // shape.language.layers if work.checkpointing else inputs
    seen = work.rows * work.images * patches
    frozen = "vision" in frozen_parts(work) or work.rank is not None
    vision = 0 if frozen else tower_bytes(shape.vision, compute, seen, work.checkpointing)
    return language + vision


def tower_bytes(tower: Tower, compute: int, tokens: int, checkpointing: bool) -> int:
    """`layer_bytes` of all layers, or of one with checkpointing, over ``tokens``."""
    one = layer_bytes(tower, compute) * tokens
    if not checkpointing:
        return tower.layers * one
    return tower.layers * compute * tower.hidden * tokens + one


def logprob_bytes(shape: ModelShape, work: Workload, rows: int, sequence: int) -> int:
    """TRL's chunked log-probabilities: one tile, float32 gradients of hidden states and head.

    On a GPU only the completions are projected, elsewhere every position, through float32 copies
    of the tile.
    """
    compute, hidden = BYTES[work.compute], shape.language.hidden
    positions = rows * (work.completion if work.gpu else sequence)
    tile = min(positions, TILE[0]) * min(shape.vocabulary, TILE[1]) * compute
    head = 0 if work.rank is not None else shape.head_parameters * 4
    return (tile if work.gpu else 4 * tile) + positions * hidden * 4 + head


def gathered_bytes(shape: ModelShape, work: Workload) -> int:
    """Whole layers at hand while weights are sharded: this one and the next, and the head."""
    if work.shards == 1:
        return 0
    layer = shape.linear_parameters() // shape.language.layers
    return (2 * layer + shape.head_parameters) * BYTES[work.dtype]


def autocast_bytes(shape: ModelShape, work: Workload) -> int:
    """Half-precision copies of trained float32 weights, which autocast keeps for one forward."""
    if work.rank is not None or work.dtype != "float32" or work.compute == "float32":
        return 0
    return trained_parameters(shape, work) * BYTES[work.compute] // work.shards


def generation_bytes(shape: ModelShape, work: Workload, prompt: int) -> dict[str, int]:
    """Key-value cache of all rows at full length, the prompts in one layer, and one step's logits.

    Logits are sampled in float32: the scores, their probabilities and a filtered copy.
    """
    compute, tower = BYTES[work.compute], shape.language
    length = prompt + work.completion
    cache = work.sampled * length * tower.layers * 2 * tower.kv_heads * tower.head_dim * compute
    return {
        "kv cache": cache,
        "prefill": work.sampled * prompt * (3 * tower.mlp + 4 * tower.hidden) * compute,
        "sampling": 3 * work.sampled * shape.vocabulary * 4,
        "vllm": work.engine_bytes if work.engine == "vllm asleep" else 0,
    }


def settings_that_fit(shape: ModelShape, work: Workload, available: int) -> dict[str, str]:
    """Settings, key -> value, with which the run fits; empty if none is enough.

    Taken one on top of the other, in the order of what they cost: checkpointing, fewer rows at
    once (and more accumulation), an 8-bit optimiser, half precision, an adapter, 4 bits, half the
    completion length.
    """
    settings: dict[str, str] = {}
    for names, changed in _savings(work):
        settings |= names
        if predict(shape, changed).total <= available:
            return settings
    return {}


def _savings(work: Workload) -> Iterator[tuple[dict[str, str], Workload]]:
    """Each saving on top of those before it, as settings and as the workload it leads to."""
    if not work.checkpointing:
        work = replace(work, checkpointing=True)
        yield {"grpo.activation_checkpointing": "true"}, work
    whole = work.rows
    for rows in (r for r in (4, 2, 1) if r < whole and whole % r == 0):
        work = replace(work, rows=rows)
        more = {"grpo.gradient_accumulation_steps": f"{whole // rows} x as many"}
        yield {"grpo.per_device_train_batch_size": str(rows)} | more, work
    if work.rank is None and work.gpu:
        work = replace(work, optimizer="paged_adamw_8bit")
        yield {"grpo.optim": work.optimizer}, work
    if work.dtype == "float32":
        work = replace(work, dtype="bfloat16")
        yield {"policy.dtype": "bfloat16"}, work
    if work.rank is None:
        work = replace(work, rank=16, reference=False)
        yield {"policy.adapter.rank": "16"}, work
    if not work.quantized and work.gpu:
        work = replace(work, quantized=True)
        yield {"policy.quantize": "4bit"}, work
    work = replace(work, completion=work.completion // 2)
    yield {"grpo.max_completion_length": str(work.completion)}, work

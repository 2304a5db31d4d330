"""What a run takes beside the GPU: memory of the host, disk for checkpoints. Pure."""

from __future__ import annotations

from ekipl_lab.benchmarks.image_files import DECODED
from ekipl_lab.training.memory.components import (
    BYTES,
    GIB,
    Workload,
    adapter_width,
    optimizer_bytes,
    trained_parameters,
)
from ekipl_lab.training.memory.shape import ModelShape

#: Libraries of one process with a built trainer: some 575 MB were measured on a CPU (docs/gpu.md);
#: a CUDA context maps more, which is an allowance.
LIBRARIES = {False: int(0.6 * GIB), True: 3 * GIB}
#: Published checkpoints come in files of at most 5 GB; a quantized model is read file by file.
LARGEST_FILE = 5 * 10**9


def host_bytes(shape: ModelShape, work: Workload, processes: int) -> dict[str, int]:
    """Memory of one machine that runs so many processes, by part.

    Every process reads the whole weights before they go to its GPU; on a CPU they stay, with all
    that training adds. The main process copies what it saves.
    """
    weights = shape.parameters * BYTES[work.dtype]
    loading = min(weights, LARGEST_FILE) if work.quantized else weights
    saved = policy_bytes(shape, work)
    parts = {"libraries": LIBRARIES[work.gpu] * processes, "pictures": DECODED.limit * processes}
    if work.gpu:
        parts["weights, or what is saved"] = max(loading * processes, saved)
    else:
        parts["copy of what is saved"] = saved
    return parts


def policy_bytes(shape: ModelShape, work: Workload) -> int:
    """The policy as a run saves it: whole weights, or the adapter alone."""
    if work.rank is not None:
        return trained_parameters(shape, work) * adapter_width(work)
    return shape.parameters * BYTES[work.dtype]


def checkpoint_bytes(shape: ModelShape, work: Workload) -> int:
    """A checkpoint to continue from: the policy and the states of the optimiser."""
    trained = trained_parameters(shape, work)
    each = adapter_width(work) if work.rank is not None else BYTES[work.dtype]
    return policy_bytes(shape, work) + optimizer_bytes(trained, each, work.optimizer)


def disk_bytes(shape: ModelShape, work: Workload, *, keep: int, evaluations: int) -> dict[str, int]:
    """Disk by part: the checkpoints kept and one being written, and a policy for each evaluation

    and the end (every one is registered; where a quantized base is trained, as adapters).
    """
    return {
        f"{keep} checkpoints, 1 in work": (keep + 1) * checkpoint_bytes(shape, work),
        f"{evaluations + 1} policies": (evaluations + 1) * policy_bytes(shape, work),
    }

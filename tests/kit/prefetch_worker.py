"""One rank of tests/training/test_trainer_prefetch.py: the same run with teachers asked after the
policy, beside it, and ahead of it.

torchrun --nproc_per_node 2 tests/kit/prefetch_worker.py FOLDER URL
"""

import json
import os
import sys
from pathlib import Path

import torch
import trainer_toys as toys
from api_kit import api_gateway
from two_process_worker import arguments, digest, gloo_threads

from ekipl_lab.groups.options import Teacher
from ekipl_lab.training.guards import leave_processes
from ekipl_lab.training.prefetch import Prefetcher, PromptSchedule


def main(folder, url):
    result = {}
    for name, generations in (("plain", 0), ("beside", 0), ("ahead", 1)):
        args = arguments(folder / name)
        args.max_completion_length = 40
        (folder / name).mkdir(exist_ok=True)
        with api_gateway(url, folder / name, timeout=60.0) as gateway:
            teachers, samples = [Teacher(gateway)], toys.toy_samples(12)
            trainer = toys.ekipl_trainer(args, teachers=teachers, samples=samples)
            trainer.ask_while_generating = name == "beside"
            if generations:
                schedule = PromptSchedule(args, len(samples), args.max_steps)
                ahead = Prefetcher(trainer.collector, schedule, generations=generations)
                trainer.prefetcher = ahead
            trainer.train()
            if trainer.prefetcher is not None:
                trainer.prefetcher.close()
            result[name] = digest(trainer)
            result["prefetched"] = gateway.stats.prefetched
            result["wasted"] = gateway.stats.prefetched - gateway.stats.prefetch_used
    result["world_size"] = trainer.accelerator.num_processes
    path = folder / f"rank-{os.environ['RANK']}.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    torch.distributed.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
    leave_processes()
    assert not gloo_threads(), "threads of gloo outlive the run: its exit may abort"

"""Building, saving, loading and sampling policies.

Importing this package registers the image-only processor, so that ``AutoProcessor`` and
``AutoModelForImageTextToText`` load a tiny policy in a fresh process.
"""

from ekipl_lab.libraries import check_torchvision

check_torchvision()  # before transformers is imported, which one that does not fit breaks

from ekipl_lab.policies.build import SIZES, build_tiny_policy
from ekipl_lab.policies.load import Policy, as_policy, load_policy, require_sight
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
from ekipl_lab.policies.save import merge_adapter, save_policy
from ekipl_lab.policies.source import PolicySource, eos_token_ids, suppressed_token_ids

__all__ = [
    "SIZES",
    "ImageOnlyQwen2VLProcessor",
    "Policy",
    "PolicySource",
    "as_policy",
    "build_tiny_policy",
    "eos_token_ids",
    "load_policy",
    "merge_adapter",
    "require_sight",
    "save_policy",
    "suppressed_token_ids",
]

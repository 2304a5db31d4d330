"""The published layout of Reason-RFT-CoT (data set ``tanhuajie2001/Reason-RFT-CoT-Dataset``).

::

    images/train_images/ images/test_images/    (from train_images.zip and test_images.zip)
    train_jsons/A3-Visual-Counting-train-35k-cot.json ...
    test_jsons/Visual-Counting-id-test-1k.json ...

A record: ``id``, ``image`` (a path, a list of paths, or a dict with ``path``; list items may be
dicts too), ``problem``, ``answer``, and in the training files ``cot``.

Licence: the authors' code is Apache-2.0; the data set's own page states the terms of the data,
which derive from CLEVR-Math, Super-CLEVR, GeoMath, Geometry3K and TRANCE, each with its own. Read
them before redistributing anything. This project ships none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ekipl_lab.benchmarks.mini.transformation.scene import STEPS, VALUES

HUB_ID = "tanhuajie2001/Reason-RFT-CoT-Dataset"
SOURCE = f"hub data set {HUB_ID}, arXiv 2503.20752"
LICENCE = "see the data set's page; code of the authors: Apache-2.0"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One JSON file: where it is, what is in it, and how many records were published."""

    path: str
    task: str
    split: str
    family: str
    published: int

    @property
    def images(self) -> str:
        """The folder that its image paths start from."""
        return "images/train_images" if self.split == "train" else "images/test_images"


_TABLE = """
counting       train    clevr_math   35000 train_jsons/A3-Visual-Counting-train-35k-cot.json
counting       test     clevr_math    1000 test_jsons/Visual-Counting-id-test-1k.json
counting       test_ood super_clevr   1000 test_jsons/Visual-Counting-ood-test-1k.json
geometry       train    geomath       4500 train_jsons/A2-Structure-Perception-train-4k5-cot.json
geometry       test     geomath        820 test_jsons/Structure-Perception-id-test-820.json
geometry       test_ood geometry3k     800 test_jsons/Structure-Perception-ood-test-800.json
transformation train    trance       60000 train_jsons/A1-Spatial-Transformation-train-60k-cot.json
transformation test     trance        1000 test_jsons/Spatial-Transformation-id-test-1k.json
transformation test_ood trance_left   1000 test_jsons/Spatial-Transformation-ood-left-test-1k.json
transformation test_ood trance_right  1000 test_jsons/Spatial-Transformation-ood-right-test-1k.json
"""


def _file(line: str) -> DataFile:
    task, split, family, published, path = line.split()
    return DataFile(path, task, split, family, int(published))


FILES: tuple[DataFile, ...] = tuple(map(_file, _TABLE.strip().splitlines()))
TASKS = ("counting", "geometry", "transformation")
IMAGES_PER_RECORD = {"counting": 1, "geometry": 1, "transformation": 2}

#: One in so many training records is validation instead, by a hash of its id: the published data
#: have no validation split, and settings must not be chosen on a test set.
VALIDATION_SHARE = 50

#: The grammar of TRANCE, which the built-in transformation task shares.
FUNCTION_VALUES = {f"change_{kind}": values for kind, values in VALUES.items()} | {
    "change_position": tuple(STEPS)
}

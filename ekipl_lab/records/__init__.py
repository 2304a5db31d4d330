"""What is kept of every group: Parquet, one row per candidate, readable while training runs.

    with GroupRecordWriter(folder) as writer:
        writer.write(step, groups)          # one file per step, written atomically
    read_groups(folder, steps=range(10, 20), source="policy", columns=["step", "total", "kept"])
    load_groups(folder, step=12)[0].with_sample(sample)   # the ActionGroup again, field by field

``schema`` the columns; ``shards`` the files; ``writer`` and ``queries`` the two ways in.
"""

from ekipl_lab.records.queries import list_steps, load_groups, read_groups, sum_by_source
from ekipl_lab.records.schema import SCHEMA, SCHEMA_VERSION, RecordedGroup
from ekipl_lab.records.writer import GroupRecordWriter

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "GroupRecordWriter",
    "RecordedGroup",
    "list_steps",
    "load_groups",
    "read_groups",
    "sum_by_source",
]

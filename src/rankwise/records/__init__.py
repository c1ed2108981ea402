"""The JSON artifacts, typed: what a stage decided or measured, and from what.

Every record names its schema and holds its own digest; a reader refuses another schema, and a record that
was changed after it was written. Records hold no times and no machine's names, except `SpeedRecord`,
which is nothing else.
"""

from rankwise.records.base import Asked, FileHash, Record, asked_as, schema_of
from rankwise.records.inputs import CorporaManifest, CorpusManifest, ModelManifest, TasksManifest
from rankwise.records.made import (
    AllocationRecord,
    BuildRecord,
    CheckpointManifest,
    Curve,
    FolderFiles,
    LinearCheck,
    LinearRank,
    RefineRecord,
    SelfCheck,
)
from rankwise.records.measured import (
    Rate,
    Scores,
    SpeedPoint,
    SpeedRecord,
    Summary,
    SummaryRow,
    TaskScore,
    TextScore,
)

__all__ = [
    "AllocationRecord",
    "Asked",
    "BuildRecord",
    "CheckpointManifest",
    "CorporaManifest",
    "CorpusManifest",
    "Curve",
    "FileHash",
    "FolderFiles",
    "LinearCheck",
    "LinearRank",
    "ModelManifest",
    "Rate",
    "Record",
    "RefineRecord",
    "Scores",
    "SelfCheck",
    "SpeedPoint",
    "SpeedRecord",
    "Summary",
    "SummaryRow",
    "TaskScore",
    "TasksManifest",
    "TextScore",
    "asked_as",
    "schema_of",
]

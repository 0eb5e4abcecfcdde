"""Who did what, and proof that the log still says so: reports of the log, and signed checkpoints of it."""

from mnemos.kernel.audit.checkpoints import CHECKPOINT, checkpoint, checkpoints_path, read_checkpoints, verify_checkpoints
from mnemos.kernel.audit.reports import Act, Change, activity, as_csv, as_json, permission_changes

__all__ = [
    "CHECKPOINT",
    "Act",
    "Change",
    "activity",
    "as_csv",
    "as_json",
    "checkpoint",
    "checkpoints_path",
    "permission_changes",
    "read_checkpoints",
    "verify_checkpoints",
]

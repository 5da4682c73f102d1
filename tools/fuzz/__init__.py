"""Fuzzing of every reader: whatever bytes a file holds, a `CastsheetError` or a value, and nothing else."""

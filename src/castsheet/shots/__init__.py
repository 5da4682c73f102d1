"""Shot lists: one sheet, many prompts and seeds; resumable, on one machine or on Ray workers."""

"""Checkpoints in and out: single files, folders, and what `castsheet inspect` says of them."""

"""Checkpoints: single files, folders, and what `castsheet inspect` says about them."""

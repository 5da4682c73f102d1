"""Sampling: schedules, guidance, the Euler sampler and presets, as free functions."""

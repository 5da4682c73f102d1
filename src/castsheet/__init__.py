"""Castsheet: video that keeps its cast."""

__version__ = "0.1.0"

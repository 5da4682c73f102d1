"""Hostile cases, each a process that calls the real entry point: `python -m tools.attack` runs them all.

They are the cases that failed when this program was first attacked from outside: 296 of 1,473.
"""

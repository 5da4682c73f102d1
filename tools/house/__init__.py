"""The house, counted and drawn from its own imports: `python -m tools.house`."""

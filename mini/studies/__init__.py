"""Studies on mini: what makes a sheet carry over. `python -m mini.studies NAME`."""

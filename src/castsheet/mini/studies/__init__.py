"""Studies on mini: what makes a sheet carry over. `python -m castsheet.mini.studies NAME`."""

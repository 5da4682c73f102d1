"""A request and all that is made of it: its preparation, takes, shots, workers. Every face asks this room."""

"""A request and what is made of it: its preparation, takes, shots, workers. Every face calls this room."""

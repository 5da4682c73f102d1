"""Tools for those who work on the house; nothing of it is installed."""

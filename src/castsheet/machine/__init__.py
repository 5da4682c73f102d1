"""This machine: files, devices, processes, progress, endpoints, downloads, and what it can run."""

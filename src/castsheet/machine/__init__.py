"""This machine: files, hardware, devices, processes, progress, and endpoints to other machines."""

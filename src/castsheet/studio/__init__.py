"""The film-maker's page and its HTTP API, over the same jobs and files as the command line.

web process    guard, routes, page; imports no torch
queue          one SQLite table with leases and fencing, in FOLDER/.studio
worker         a process of its own with the model kept warm; started, watched and replaced by the web process
"""

"""Which files a model is made of, which of its parts are in memory, and where."""

"""A hand-written stand-in for ComfyUI's node interface, as far as our nodes use it."""

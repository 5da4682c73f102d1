"""Mini's architecture and how its parts are trained."""

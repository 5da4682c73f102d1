"""Mini's second edition in the making; mini/training holds the first until this one ships."""

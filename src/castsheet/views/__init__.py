"""Views that the user lacks, made by a model: from words, or from one picture of the element."""

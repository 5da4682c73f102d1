"""Training data: samples on disk, encoding them, reading other trainers' sets."""

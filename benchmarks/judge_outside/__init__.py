"""The judge on footage that nobody of the project made: a film, people on photographs, real cameras."""

"""The judge: did the cast carry over? Measured by element and frame, shown, used to choose takes."""

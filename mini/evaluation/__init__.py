"""Does mini keep its cast? Measured against the truth that the world knows."""

"""Cases with known truth for the judge, and the thresholds chosen on them."""

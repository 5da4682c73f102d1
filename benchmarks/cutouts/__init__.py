"""Cut-outs measured against known truth: rendered people, people from plain ground, things, and animals."""

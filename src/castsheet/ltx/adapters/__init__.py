"""LoRA adapters: their files, merging them into weights, attaching them for training."""

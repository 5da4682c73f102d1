"""Mini's training data: captions, clips, latents."""

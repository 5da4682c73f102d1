"""What the denoiser is: its layers, blocks and forward pass, in plain PyTorch."""

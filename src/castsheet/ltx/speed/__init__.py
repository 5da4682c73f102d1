"""What makes a built denoiser faster or smaller, from outside: one optimisation a file."""

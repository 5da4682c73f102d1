"""From noise to clean latents: schedules, guidance, samplers, and the denoiser that they call."""

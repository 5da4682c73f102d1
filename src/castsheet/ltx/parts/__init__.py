"""The parts that diffusers and transformers bring: VAE, audio, text encoder, connectors."""

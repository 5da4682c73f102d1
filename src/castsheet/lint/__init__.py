"""Every rule of the house, by what it reads: panels, pixels, content, prompt, video, workflow."""

"""Where training keeps parameters, gradients and activations, in one process or several."""

"""Where training keeps what it needs: parameters, gradients, activations, several processes."""

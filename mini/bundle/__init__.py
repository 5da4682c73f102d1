"""The bundle that ships: packing weights, unpacking them, the model card."""

"""What the GPU did, joined to the nodes that launched it."""

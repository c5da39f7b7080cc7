"""ONNX Runtime: finding it, its sessions, its execution providers."""

"""The profiler that tells the truth about ONNX inference."""

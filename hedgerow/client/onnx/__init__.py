"""Local training with ONNX Runtime, on devices without torch."""

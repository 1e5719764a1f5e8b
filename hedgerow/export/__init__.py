"""A model's local step as one plain ONNX graph, which any ONNX Runtime runs without torch."""

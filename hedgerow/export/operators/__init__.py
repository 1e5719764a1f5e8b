"""Each aten operator in ONNX's words, one small function an operator."""

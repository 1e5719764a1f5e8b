"""What a device knows of the graphs that it trains with; needs neither torch nor the `onnx` package."""

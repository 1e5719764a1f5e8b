"""A local step, with its backward pass, as one graph of aten operators."""

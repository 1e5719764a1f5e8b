"""A small CNN on Fashion-MNIST."""

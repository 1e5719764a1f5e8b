"""What is computed, as a description that another device can read: plain JSON, neither torch nor Flower."""

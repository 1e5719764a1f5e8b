"""The device's side of secure aggregation: identity, register, and the five stages."""

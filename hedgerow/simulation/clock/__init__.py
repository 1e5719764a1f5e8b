"""A virtual clock: what a round takes and costs on described devices and links, without waiting for it."""

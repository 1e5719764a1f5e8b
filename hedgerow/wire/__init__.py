"""Every message's one form: named records, and the bytes that they are. Neither Flower nor torch."""

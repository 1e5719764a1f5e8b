"""The adjacency of an epsilon: which two federations are called neighbours."""

ADJACENCIES = {
    "zero_out": "with or without the data of one {who}: its contribution counts, or is zero",
    "replace": "with the data of one {who}, or with any others in their place",
}
"""What may differ between two neighbouring federations.

With `"zero_out"`, one contribution, clipped to a norm `C`, is either part of a
sum or replaced by zero, which changes the sum by at most `C`. If the server or
a sample's owner adds the noise, this means adding or removing a client or a
sample; if clients add it, the client still takes part, with its noise. With
`"replace"`, it is replaced by any other of norm `C`: the sum changes by at most
`2 C`.
"""


def sensitivity(adjacency: str) -> float:
    """The largest difference between two neighbouring sums, in clip norms.

    >>> sensitivity("zero_out"), sensitivity("replace")
    (1.0, 2.0)
    """
    return 2.0 if adjacency == "replace" else 1.0


def told(adjacency: str, who: str) -> str:
    """The adjacency in words.

    >>> told("replace", "client")
    'with the data of one client, or with any others in their place'
    """
    return ADJACENCIES[adjacency].format(who=who)

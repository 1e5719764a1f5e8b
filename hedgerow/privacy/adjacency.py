"""Which two federations an epsilon tells apart: the adjacency that it is counted for."""

ADJACENCIES = {
    "zero_out": "with or without the data of one {who}: its contribution counts, or is zero",
    "replace": "with the data of one {who}, or with any others in their place",
}
"""What may differ between two neighbouring federations.

With `"zero_out"` one contribution, clipped to a norm `C`, is in a sum or is
zero there, which moves the sum by at most `C`. Where the server or a sample's
owner adds the noise this is adding or removing a client or a sample; where
clients add it, the client is there all the same, with its noise. With
`"replace"` it becomes any other of norm `C`: the sum moves by at most `2 C`.
"""


def sensitivity(adjacency: str) -> float:
    """By how many clip norms two neighbouring sums differ at most.

    >>> sensitivity("zero_out"), sensitivity("replace")
    (1.0, 2.0)
    """
    return 2.0 if adjacency == "replace" else 1.0


def told(adjacency: str, who: str) -> str:
    """The adjacency for a person.

    >>> told("replace", "client")
    'with the data of one client, or with any others in their place'
    """
    return ADJACENCIES[adjacency].format(who=who)

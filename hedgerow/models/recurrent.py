"""Recurrent models of text: the next character, from those before it."""

from torch import Tensor, nn


class NextCharacter(nn.Module):
    """Embedding, recurrent layers, and scores from the last step.

    The hidden state starts at zero for every sample.
    """

    def __init__(self, vocabulary: int, num_classes: int, embedding: int, cell: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = cell
        self.linear = nn.Linear(cell.hidden_size, num_classes)

    def forward(self, characters: Tensor) -> Tensor:
        """`(n, length) int64 -> (n, num_classes)` scores."""
        states, _ = self.recurrent(self.embedding(characters))
        scores: Tensor = self.linear(states[:, -1])
        return scores


def gru_char(num_classes: int, vocabulary: int = 0, embedding: int = 8, hidden: int = 128) -> nn.Module:
    """A character-level GRU: embedding of 8, one layer of 128 units.

    Args:
        num_classes: characters that can come next.
        vocabulary: characters that can be read; 0 for `num_classes`.
        embedding: values a character.
        hidden: units of the layer.

    `(n, length) int64 -> (n, num_classes)` scores, for any length.

    >>> sum(p.numel() for p in gru_char(num_classes=80).parameters())
    63952
    """
    cell = nn.GRU(embedding, hidden, batch_first=True)
    return NextCharacter(vocabulary or num_classes, num_classes, embedding, cell)


def lstm_char(
    num_classes: int, vocabulary: int = 0, embedding: int = 8, hidden: int = 256, layers: int = 2
) -> nn.Module:
    """The FedAvg paper's character-level LSTM: embedding of 8, two layers of 256 units.

    Args:
        num_classes: characters that can come next.
        vocabulary: characters that can be read; 0 for `num_classes`.
        embedding: values a character.
        hidden: units of a layer.
        layers: number of layers.

    `(n, length) int64 -> (n, num_classes)` scores, for any length.

    The paper (arXiv:1602.05629, section 3) counts 866,578 parameters and does
    not give the size of its vocabulary. torch's LSTM has two bias vectors
    where the equations have one, so this model has 798,720 + 265 v parameters
    for v characters: 867,090 for v = 258. With one bias vector and peephole
    connections (3 x 256 for each layer) that becomes exactly 866,578, which may be
    how the paper's model was built.

    >>> sum(p.numel() for p in lstm_char(num_classes=258).parameters())
    867090
    """
    cell = nn.LSTM(embedding, hidden, layers, batch_first=True)
    return NextCharacter(vocabulary or num_classes, num_classes, embedding, cell)

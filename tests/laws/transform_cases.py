"""Vectors and contexts for transforms, and what is decoded of what was encoded."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.types import Client, Layout, RoundContext, Tensor, Vector

relaxed = settings(deadline=None, max_examples=150)


def context_for(*sizes: int, seed: int = 1, round: int = 1, client: str = "ann") -> RoundContext:
    layout = Layout(tuple(Tensor(f"t{i}", (size,)) for i, size in enumerate(sizes)))
    return RoundContext(seed, round, Client(client), layout, num_examples=20, seeded_noise=True)


@st.composite
def cases(draw: st.DrawFn, largest: float = 2.0**100) -> tuple[Vector, RoundContext]:
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    values = st.floats(-largest, largest, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-149])
    vector = draw(arrays(np.float32, sum(sizes), elements=values))
    return vector, context_for(*sizes, seed=draw(st.integers(0, 9)), round=draw(st.integers(1, 9)))


def there_and_back(text: str, x: Vector, context: RoundContext) -> Vector:
    pipeline = parse_pipeline(text)
    return decode(pipeline, encode(pipeline, x, {}, context)[0], context)

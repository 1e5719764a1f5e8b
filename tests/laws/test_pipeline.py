"""The text of a pipeline and the pipeline say the same."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.strategies import (
    Transform,
    chain,
    clip,
    encode,
    error_feedback,
    float32,
    parse_pipeline,
    quantize,
    random_k,
    top_k,
    weight_by_examples,
)
from hedgerow.types import Client, Layout, RoundContext

fractions = st.floats(1e-6, 1)
blocks = st.just("tensor") | st.integers(1, 5000)
contractive = st.builds(top_k, fractions) | st.builds(random_k, fractions, st.just(False))
quantizers = st.builds(quantize, st.integers(3, 16), st.sampled_from(["stochastic", "nearest"]), blocks)


@st.composite
def built(draw: st.DrawFn) -> Transform:
    steps = []
    if draw(st.booleans()):
        steps.append(
            draw(st.builds(weight_by_examples, st.integers(1, 10**7)) | st.just(weight_by_examples()))
        )
    if draw(st.booleans()):
        steps.append(clip(draw(st.floats(1e-9, 1e9) | st.integers(1, 9))))
    inner = draw(st.sampled_from([[], [contractive], [quantizers], [contractive, quantizers]]))
    parts = [draw(part) for part in inner]
    if parts and draw(st.booleans()):
        parts = [error_feedback(*parts)]
    return chain(*steps, *parts)


@given(built())
@settings(deadline=None, max_examples=200)
def test_reading_the_text_of_a_pipeline_gives_it_back(pipeline: Transform) -> None:
    again = parse_pipeline(str(pipeline))
    assert again.name == str(pipeline) == repr(pipeline)
    assert (again.kinds, again.summable, again.unbiased) == (
        pipeline.kinds,
        pipeline.summable,
        pipeline.unbiased,
    )
    x = np.linspace(-3, 5, 50, dtype=np.float32)
    context = RoundContext(1, 1, Client("ann"), Layout.flat(50), num_examples=9)
    first, second = (encode(p, x, {}, context)[0] for p in (pipeline, again))
    assert {k: v.tobytes() for k, v in first.arrays.items()} == {
        k: v.tobytes() for k, v in second.arrays.items()
    }


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (float32(), "float32()"),
        (quantize(), "quantize(8)"),
        (quantize(4, rounding="nearest", block=256), "quantize(4, rounding='nearest', block=256)"),
        (top_k(0.01), "top_k(0.01)"),
        (top_k(1), "top_k(1.0)"),
        (random_k(0.5, unbiased=True), "random_k(0.5)"),
        (random_k(0.5, unbiased=False), "random_k(0.5, unbiased=False)"),
        (clip(np.float64(0.5)), "clip(0.5)"),
        (weight_by_examples(), "weight_by_examples()"),
        (weight_by_examples(10), "weight_by_examples(10)"),
        (error_feedback(chain(top_k(0.1), quantize(8))), "error_feedback(chain(top_k(0.1), quantize(8)))"),
    ],
)
def test_names_show_the_main_argument_and_what_differs_from_the_default(step: Transform, text: str) -> None:
    assert step.name == text
    assert parse_pipeline(text).name == text


def test_line_breaks_and_spaces_are_allowed() -> None:
    text = """
        chain(
            top_k( fraction=0.01 ),
            quantize(bits = 8),
        )
    """
    assert str(parse_pipeline(text)) == "chain(top_k(0.01), quantize(8))"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("quantize(8", "cannot be read (character 9)"),
        ("quantize", "at 'quantize' (character 1): a pipeline is a call such as quantize(8)"),
        ("quantise(8)", "at 'quantise(8)' (character 1): there is no transform 'quantise'"),
        ("chain(top_k(0.1), qantize(8))", "(character 19)"),
        ("chain(top_k(0.1), qantize(8))", "Did you mean 'quantize'?"),
        ("chain(top_k(0.1), quantize)", "(character 19): a transform needs its brackets: quantize(...)"),
        ("top_k()", "missing a required argument: 'fraction'; the arguments are: fraction."),
        ("top_k(0.1, 0.2)", "too many positional arguments; the arguments are: fraction."),
        ("top_k(fractoin=0.1)", "the arguments are: fraction. Did you mean 'fraction'?"),
        ("chain(clip(1.0), quantize(99))", "at 'quantize(99)' (character 18): bits is 99"),
        ("chain(quantize(8), quantize(8))", "(character 1): quantize(8) cannot follow quantize(8)"),
        ("chain(8)", "a step is 8; it must be a Transform"),
        ("clip(quantize(8))", "norm is quantize(8); it must be a number above 0"),
        ("clip(-1.0)", "norm is -1.0; it must be a number above 0"),
        ("clip(1 + 1)", "at '1 + 1' (character 6): an argument must be a number"),
        ("clip(-'a')", "only a number can follow a minus sign"),
        ("clip(1j)", "an argument must be a number"),
        ("clip([1.0])", "an argument must be a number"),
        ("clip(*(1.0,))", "an argument must be a number"),
        ("clip(**{'norm': 1})", "** is not allowed"),
        ("hedgerow.clip(1.0)", "only a transform's own name can be called"),
        ("__import__('os').system('true')", "only a transform's own name can be called"),
        ("clip(__import__('os'))", "there is no transform '__import__'"),
        ("(lambda: 1)()", "only a transform's own name can be called"),
        ("clip(1.0); clip(2.0)", "cannot be read"),
        ("clip(1.0)\0", "cannot be read"),
        ("chain(" * 5000, "cannot be read"),
        ("clip(" + "-" * 100_000 + "1)", "cannot be read"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_pipeline(text)


def test_deep_nesting_is_read() -> None:
    assert str(parse_pipeline("chain(" * 150 + "top_k(0.1)" + ")" * 150)) == "top_k(0.1)"


@given(st.text(max_size=40) | st.text("chaintop_k(),0.1=*'-[] \n", max_size=40))
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_pipeline_or_a_value_error(text: str) -> None:
    try:
        pipeline = parse_pipeline(text)
    except ValueError:
        return
    assert isinstance(pipeline, Transform)

"""Orders that cannot work are refused when a chain is built, with a remedy."""

from itertools import product

import pytest

from hedgerow.strategies import Transform, chain, clip, error_feedback, quantize, random_k, top_k
from hedgerow.strategies import weight_by_examples as weight
from hedgerow.strategies.pipeline import ordering as under_test
from hedgerow.strategies.pipeline.ordering import KINDS

REMEDIES = {
    ("quantize", "quantize"): "keep one of the two",
    ("sparsify", "sparsify"): "keep one of the two",
    ("quantize", "sparsify"): "put the sparsifier first",
    ("quantize", "normalize"): "put it first",
    ("noise", "normalize"): "put it first",
    ("discrete noise", "normalize"): "put it first",
    ("mask", "normalize"): "put it first",
    ("quantize", "clip"): "put the clip before it",
    ("quantize", "noise"): "put the noise before it",
    ("quantize", "feedback"): "put it inside error_feedback",
    ("sparsify", "clip"): "put the clip first",
    ("sparsify", "noise"): "put clip and noise first",
    ("sparsify", "feedback"): "put it inside error_feedback",
    ("feedback", "feedback"): "keep one of the two",
    ("feedback", "clip"): "put the clip first",
    ("feedback", "noise"): "put clip and noise first",
    ("feedback", "discrete noise"): "leave out error_feedback",
    ("noise", "clip"): "put the clip first",
    ("noise", "noise"): "keep one of the two",
    ("noise", "discrete noise"): "keep one of the two",
    ("noise", "feedback"): "leave out error_feedback",
    ("discrete noise", "noise"): "keep one of the two",
    ("discrete noise", "discrete noise"): "keep one of the two",
    ("discrete noise", "clip"): "put the clip first",
    ("discrete noise", "quantize"): "put the quantizer first",
    ("discrete noise", "sparsify"): "put the sparsifier first",
    ("discrete noise", "feedback"): "leave out error_feedback",
    ("mask", "quantize"): "quantize first",
    ("mask", "sparsify"): "put random_k before the mask",
    ("mask", "clip"): "put the clip first",
    ("mask", "noise"): "put discrete noise before the mask",
    ("mask", "discrete noise"): "put discrete noise before the mask",
    ("mask", "mask"): "keep one of the two",
    ("mask", "feedback"): "put error_feedback first",
}


def bare(kind: str, summable: bool = True) -> Transform:
    """A plug-in's step: the order rules see its kind and nothing else."""
    return Transform(
        name=f"my_{kind.replace(' ', '_')}()",
        kinds=(kind,),
        encode=lambda payload, state, context: (payload, {}),
        decode=lambda payload, n, context: payload,
        summable=summable,
    )


def test_every_rule_is_under_test() -> None:
    assert set(REMEDIES) == set(under_test._REFUSED)
    assert {kind for pair in REMEDIES for kind in pair} | {"weight"} == set(KINDS)


@pytest.mark.parametrize("pair", REMEDIES, ids=" then ".join)
def test_a_refused_pair_names_both_steps_and_the_remedy(pair: tuple[str, str]) -> None:
    first, then = bare(pair[0]), bare(pair[1])
    with pytest.raises(ValueError, match="cannot follow") as caught:
        chain(first, then)
    assert str(caught.value).startswith(f"{then.name} cannot follow {first.name}: ")
    assert str(caught.value).endswith(f"; {REMEDIES[pair]}")
    with pytest.raises(ValueError, match="cannot follow"):
        chain(first, weight(), then)
    with pytest.raises(ValueError, match="cannot follow"):
        chain(chain(first, weight()), chain(weight(), then))


def test_every_other_pair_is_built() -> None:
    built = [chain(bare(a), bare(b)).kinds for a, b in product(KINDS, KINDS) if (a, b) not in REMEDIES]
    assert len(built) == len(KINDS) ** 2 - len(REMEDIES)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((quantize(8), top_k(0.1)), "top_k(0.1) cannot follow quantize(8)"),
        ((top_k(0.1), random_k(0.1)), "random_k(0.1) cannot follow top_k(0.1)"),
        ((top_k(0.1), error_feedback(quantize(8))), "put it inside error_feedback"),
        ((error_feedback(top_k(0.1), quantize(8)), quantize(4)), "keep one of the two"),
        ((error_feedback(top_k(0.1)), clip(1.0)), "put the clip first"),
    ],
)
def test_real_steps_in_an_impossible_order_are_refused(steps: tuple[Transform, ...], says: str) -> None:
    with pytest.raises(ValueError, match="cannot follow") as caught:
        chain(*steps)
    assert says in str(caught.value)


def test_the_orders_of_the_field_are_built() -> None:
    assert chain(error_feedback(top_k(0.1)), quantize(8)).stateful
    assert chain(clip(1.0), bare("noise"), random_k(0.1), bare("mask")).summable
    assert chain(clip(1.0), bare("quantize"), bare("discrete noise"), bare("mask")).summable
    assert chain(weight(), clip(1.0), error_feedback(top_k(0.1), quantize(8))).kinds == (
        "weight",
        "clip",
        "feedback",
        "sparsify",
        "quantize",
    )


@pytest.mark.parametrize("noise", ["noise", "discrete noise"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_weights_are_refused_beside_clip_and_noise(noise: str, order: tuple[int, ...]) -> None:
    steps = (weight(), clip(1.0), bare(noise))
    with pytest.raises(ValueError, match=r"under differential privacy.*remove the weighting"):
        chain(*(steps[i] for i in order))


@pytest.mark.parametrize("step", [top_k(0.1), error_feedback(top_k(0.1))])
def test_a_step_that_clients_do_differently_is_refused_before_a_mask(step: Transform) -> None:
    with pytest.raises(ValueError, match=r"cannot come before a mask: .*use random_k"):
        chain(step, bare("mask"))
    with pytest.raises(ValueError, match=r"cannot come before a mask"):
        chain(weight(), chain(step, weight()), bare("mask"))


def test_scales_of_each_client_are_refused_before_a_mask() -> None:
    with pytest.raises(
        ValueError, match=r"quantize\(8\) cannot come before a mask.*a range that all clients"
    ):
        chain(quantize(8), bare("mask"))


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a Transform, such as quantize"):
        chain(quantize)  # type: ignore[arg-type]


def test_a_chain_is_what_all_of_its_steps_are() -> None:
    assert chain(weight(), random_k(0.1)).summable
    assert chain(weight(), random_k(0.1)).unbiased
    assert not chain(random_k(0.1), quantize(8)).summable
    assert not chain(clip(1.0), random_k(0.1)).unbiased
    assert not chain(random_k(0.1), quantize(8)).contractive
    assert chain(quantize(8)).name == "quantize(8)"
    assert chain().name == "float32()"

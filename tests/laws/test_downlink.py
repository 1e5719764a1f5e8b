"""What a client makes of what it is sent is the server's own, bit for bit, whatever it has missed."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.client.client_round import ClientConfig
from hedgerow.client.constants import LacksConstants
from hedgerow.client.received import LacksBase, LacksBoth, received
from hedgerow.client.state import StateStore
from hedgerow.server.broadcast import Broadcasts, begin_downlink
from hedgerow.server.request import Form, make_request
from hedgerow.strategies import error_feedback, parse_pipeline, random_k
from hedgerow.strategies.downlink import MOST_MISSED, decode_down, encode_down
from hedgerow.types import Layout, Model, PayloadError, ServerState, Tensor
from hedgerow.wire import codec
from hedgerow.wire.messages import Coded, named_only, unpack_train

SEED = 5
DOWNLINKS = (
    "eden(4)", "eden(1, unbiased=False)", "quantize(8)", "random_k(0.5)", "entropy(eden(4))", "top_k(0.2)",
    "error_feedback(top_k(0.1))", "error_feedback(top_k(0.2), quantize(4))", "error_feedback(eden(2))",
    "entropy(error_feedback(top_k(0.3), quantize(4)))",
)  # fmt: skip


class Starts:
    """Knows where a run starts."""

    supports = frozenset[str]()

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def initial(self, seed: int) -> Model:
        return start(self.layout, seed)


class HasNoModel(Starts):
    """As a trainer by graphs."""

    def initial(self, seed: int) -> Model:
        raise ValueError("a graph holds no values")


def start(layout: Layout, seed: int = SEED) -> Model:
    rng = np.random.default_rng(seed)
    sizes = layout.dimension, layout.buffer_size, layout.constant_size
    return Model(*(rng.normal(size=size).astype(np.float32) for size in sizes))


def moved(state: ServerState, scale: float = 0.1, **changes) -> ServerState:
    """A state one round later; with scale 0, of a round that failed."""
    rng = np.random.default_rng(state.round)
    values = state.model.parameters
    parameters = values + (scale * rng.normal(size=len(values))).astype(np.float32) if scale else values
    return replace(state, round=state.round + 1, model=replace(state.model, parameters=parameters), **changes)


class Run:
    """A server's rounds, and clients that take part in some of them, by bytes."""

    def __init__(self, text: str, layout: Layout, names: str = "abc", trainer: type = Starts) -> None:
        self.strategy, self.layout = hr.fedavg(downlink=parse_pipeline(text)), layout
        self.broadcasts = Broadcasts(self.strategy.downlink)
        first = start(layout)
        kept = begin_downlink(self.strategy.downlink, first.parameters)
        self.state = ServerState(0, first, downlink=kept)
        self.config = ClientConfig(self.strategy, trainer(layout))
        self.stores = {name: StateStore() for name in names}
        self.sent: dict[str, int] = {}

    def request(self):
        return make_request(self.broadcasts, self.state, self.layout, seed=SEED, cohort=())

    def ask(self, name: str, form: Form | None = None) -> Model:
        """What a client trains, sent again where it lacks something."""
        request = self.request()
        form = form or request.form(name)
        try:
            return self._taken(name, request.content(form))
        except (LacksBase, LacksConstants, LacksBoth) as error:
            lacks = {LacksBase: {"base"}, LacksConstants: {"constants"}}
            missing = lacks.get(type(error), {"base", "constants"})
            return self._taken(name, request.content(form.filled(missing)))

    def step(self, taking_part: str, scale: float = 0.1) -> None:
        self.state = self.broadcasts.sent(
            self.state, moved(self.state, scale), set(taking_part), self.layout, SEED
        )

    def _taken(self, name: str, content) -> Model:
        data = codec.encode(content)
        self.sent[name] = len(data)
        request = unpack_train(codec.decode(data), self.layout)
        return received(self.config, self.stores[name], request).model


@given(
    st.sampled_from(DOWNLINKS),
    st.integers(1, 120),
    st.lists(
        st.tuples(st.sets(st.sampled_from("abc")), st.sampled_from([0.1, 0.1, 1e-6, 0])),
        min_size=1,
        max_size=9,
    ),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_client_that_comes_back_trains_the_bits_of_one_that_was_always_there(text, n, rounds, makes):
    run = Run(text, Layout.flat(n), trainer=Starts if makes else HasNoModel)
    for there, scale in rounds:
        expected = run.request().broadcast.parameters
        for name in {"a", *there}:  # `a` takes part in every round
            found = run.ask(name)
            assert found.parameters.tobytes() == expected.tobytes()
        run.step("".join({"a", *there}), scale)


@given(st.sampled_from(DOWNLINKS), st.integers(2, 200), st.sampled_from([1e-20, 1.0, 1e20]))
@settings(max_examples=30)
def test_server_and_client_decode_alike_and_nothing_is_sent_of_what_has_not_changed(text, n, scale):
    layout, step = Layout.flat(n), parse_pipeline(text)
    base = start(layout).parameters * np.float32(scale)
    model = base + (scale * np.random.default_rng(n).normal(size=n)).astype(np.float32)
    arrays, sent = encode_down(step, model, base, seed=SEED, number=3, layout=layout)
    again = decode_down(step, arrays, base, seed=SEED, number=3, layout=layout)
    assert again.tobytes() == sent.tobytes()
    same = Run(text, layout)
    assert same.request().broadcast.parameters is same.state.model.parameters
    assert not same.request().broadcast.since[0].payloads


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_error_of_a_models_change_is_edens(bits):
    layout, published = Layout.flat(20_000), {1: 0.571, 2: 0.1331, 4: 0.0096}
    rng, errors = np.random.default_rng(1), []
    for number in range(1, 9):
        base = rng.normal(size=20_000).astype(np.float32)
        model = base + rng.laplace(size=20_000).astype(np.float32)
        step = parse_pipeline(f"eden({bits})")
        arrays, sent = encode_down(step, model, base, seed=SEED, number=number, layout=layout)
        errors.append(np.square(sent - model).sum() / np.square(model - base).sum())
        assert sum(each.nbytes for each in arrays.values()) < 20_000 * bits / 8 + 50
    assert np.mean(errors) == pytest.approx(published[bits], rel=0.02)


def test_with_error_feedback_the_residual_stays_and_without_it_each_model_is_as_far_from_the_first():
    """The change is spread alike, so that `top_k(0.1)` leaves most of it out at first."""
    runs = {text: Run(text, Layout.flat(1000)) for text in ("error_feedback(top_k(0.1))", "top_k(0.1)")}
    left: dict[str, list[float]] = {text: [] for text in runs}
    for text, run in runs.items():
        for _ in range(40):
            run.step("a", 0.1 if run.state.round < 3 else 0)
            made = run.request().broadcast
            left[text].append(float(np.abs(made.parameters - run.state.model.parameters).max()))
    with_it, without = left.values()
    assert with_it[-1] == 0 < with_it[2]
    assert without[-1] == without[5] > 0


def test_who_missed_little_is_sent_the_payloads_and_who_missed_much_the_model():
    run = Run("error_feedback(top_k(0.05))", Layout.flat(2000))
    sizes = {}
    for number in range(30):
        run.step("a")
        run.ask("a")
        sizes[number] = len(codec.encode(run.request().content(Form(None))))
        kept = sum(values.nbytes for name, values in run.state.downlink.items() if name.startswith("sent."))
        assert kept < 2 * 4 * 2000
    whole, each = sizes[29], run.sent["a"]
    assert each < whole / 8
    run.stores["b"] = StateStore()
    run.state = replace(run.state, held={**run.state.held, "b": run.state.held["a"] - 3, "c": 2})
    assert run.request().form("b").since == run.state.held["a"] - 3
    run.ask("b")  # that client has lost it, and is sent the model
    assert run.sent["b"] == whole
    run.ask("b")
    form = run.request().form("b")
    assert len(codec.encode(run.request().content(form))) == pytest.approx(4 * each, rel=0.15)
    assert run.request().form("c") == Form(None)
    run.ask("c")
    assert run.sent["c"] == whole


def test_what_a_client_lacks_is_sent_and_no_more():
    layout = Layout((Tensor("a", (400,)),), (), (Tensor("c", (3000,)),))
    run = Run("eden(2)", layout, trainer=HasNoModel)
    run.step("")
    request = make_request(run.broadcasts, run.state, layout, seed=SEED, cohort=())
    assert request.sizes(["a"], makes=True)["a"] < request.sizes(["a"], makes=False)["a"]
    found = run.ask("a")
    assert found.constants.tobytes() == run.state.model.constants.tobytes()
    assert run.sent["a"] > 4 * 3400
    other = moved(replace(run.state, downlink={"base": run.state.model.parameters + 1}))
    again = make_request(Broadcasts(run.strategy.downlink), other, layout, seed=SEED, cohort=())
    with pytest.raises(LacksBase):  # it has the constants, and another base
        run._taken("a", again.content(Form(0)))
    run.ask("a")
    assert run.sent["a"] < 800


def test_a_request_is_the_same_question_whatever_of_the_model_is_sent_with_it():
    run = Run("error_feedback(top_k(0.05))", Layout.flat(500))
    for _ in range(5):
        run.step("a")
    request = run.request()
    forms = [Form(None), *(Form(number) for number in request.broadcast.since)]
    told = {codec.encode(named_only(request.content(form))) for form in forms}
    assert len(forms) > 4
    assert len(told) == 1
    run.step("a")
    assert codec.encode(named_only(run.request().content(Form(None)))) not in told


def test_draws_on_the_way_down_are_not_those_of_the_clients():
    layout, step = Layout.flat(1000), random_k(0.1)
    zero, one = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    _, down = encode_down(step, one, zero, seed=SEED, number=4, layout=layout)
    where = hr.types.RoundContext(SEED, 4, hr.types.Client("a"), layout)
    payload, _ = hr.strategies.encode(step, one, {}, where)
    up = hr.strategies.decode(step, payload, where)
    assert 0 < np.count_nonzero(down * up) < 40


@pytest.mark.parametrize(
    ("downlink", "why"),
    [
        (
            "mask()",
            r"downlink is mask\(\); it must have no mask: masks cancel .* put mask\(\) into the pipeline",
        ),
        ("clip(1.0)", r"the model would be cut short; put clip"),
        ("chain(clip(1.0), quantize(8))", r"the model would be cut short"),
        ("gaussian_noise(1.0)", "no noise: it protects what clients send; put it into the pipeline"),
        ("weight_by_examples()", "no weight: it says how much a client counts; leave weight_by_examples"),
        ("quantize(8, range=0.1)", "it must have no range: that is for a mask to sum integers; leave it out"),
    ],
)
def test_what_makes_no_sense_downwards_is_refused_by_name_with_a_remedy(downlink, why):
    with pytest.raises(ValueError, match=why):
        hr.fedavg(downlink=parse_pipeline(downlink))


def test_a_step_that_keeps_state_of_its_own_is_refused():
    step = replace(hr.quantize(8), name="remembers()", stateful=True)
    with pytest.raises(ValueError, match=r"remembers\(\); it must have no state of its sender"):
        hr.fedavg(downlink=step)
    assert hr.fedavg(downlink=error_feedback(hr.quantize(8))).stateful is False


def test_other_bits_than_the_servers_are_never_trained():
    run = Run("eden(4)", Layout.flat(300))
    run.step("a")
    content = run.request().content(Form(0))
    request = unpack_train(content, run.layout)
    store, coded = StateStore(), request.coded
    (arrays,) = coded.payloads.values()
    flipped = {**arrays, "values": arrays["values"] ^ np.uint8(1)}
    for payloads in ({1: flipped}, {2: arrays}, {}):
        with pytest.raises(PayloadError, match="is another one here than on the server"):
            received(run.config, store, replace(request, coded=replace(coded, payloads=payloads)))
    sent = replace(request.model, parameters=run.state.model.parameters)
    with pytest.raises(PayloadError, match="do not have the hash"):
        received(run.config, store, replace(request, model=sent))
    many = dict.fromkeys(range(MOST_MISSED + 1), arrays)
    with pytest.raises(PayloadError, match=f"at most {MOST_MISSED} are decoded"):
        received(run.config, store, replace(request, coded=replace(coded, payloads=many)))
    plain = ClientConfig(hr.fedavg(), Starts(run.layout))
    with pytest.raises(PayloadError, match="this client's strategy has no downlink"):
        received(plain, store, request)


def test_a_request_without_a_downlink_has_the_bytes_that_it_had():
    layout = Layout((Tensor("a", (5,)),), (Tensor("b", (2,)),))
    state = ServerState(3, start(layout))
    content = make_request(Broadcasts(), state, layout, seed=SEED, cohort=()).content(Form(None))
    assert {name: sorted(record) for name, record in content.items()} == {
        "model": ["buffers", "parameters"], "hedgerow": ["layout", "round", "seed"],
    }  # fmt: skip


def test_hashes_that_are_none_are_refused():
    coded = Coded(hashlib.sha256(b"").digest(), b"short", {})
    from hedgerow.wire.messages import pack_train

    content = pack_train(Model(np.empty(0, np.float32)), Layout.flat(2), round=1, seed=0, coded=coded)
    with pytest.raises(PayloadError, match="model is b'short'; it must be the 32 bytes"):
        unpack_train(content, Layout.flat(2))

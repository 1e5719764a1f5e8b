"""A policy is what its file says, and a stricter rule never lets more through."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.limits import Limits
from hedgerow.client.policy import Policy, PolicyError, strategy_hash
from hedgerow.client.policy_file import load_policy, policy_text
from hedgerow.strategies import cyclic, fedavg, fedper, secure_dp_fedavg, secure_fedavg, uniform
from hedgerow.types import LocalTraining

shares = st.floats(0, 0.9)
positive = st.floats(1e-6, 1e6)
digests = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=2).map(tuple)
texts = st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple)
hours = st.times().map(lambda time: f"{time:%H:%M}")
limits = st.builds(
    Limits,
    memory=st.none() | st.integers(128, 10**6),
    threads=st.none() | st.integers(1, 64),
    temperature=st.none() | positive,
    on_mains=st.booleans(),
    unmetered=st.booleans(),
    quiet=st.lists(st.builds("{}-{}".format, hours, hours), max_size=3).map(tuple),
)
policies = st.builds(
    Policy,
    masked_only=st.booleans(),
    evaluate=st.booleans(),
    statistics=st.booleans(),
    most_answers=st.none() | st.integers(1, 10**9),
    min_clients=st.integers(3, 10**6),
    corrupt=shares,
    failure_bits=st.integers(20, 128),
    client_noise=st.floats(0, 1e3),
    sample_noise=st.floats(0, 1e3),
    delta=st.floats(1e-12, 0.5),
    client_epsilon=st.none() | positive,
    sample_epsilon=st.none() | positive,
    recipes=st.none() | texts,
    data=texts,
    strategies=texts,
    graphs=st.builds(
        GraphRules,
        hashes=digests,
        keys=digests,
        megabytes=st.integers(1, 10**6),
        in_the_clear=st.booleans(),
    ),
    limits=limits,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=policies)
def test_a_policy_that_is_written_and_read_is_the_same(policy: Policy, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(policy_text(policy), encoding="utf-8")
    assert load_policy(file) == policy
    assert len(policy_text(policy).splitlines()) <= 48, "a page"
    assert all(field.name in policy_text(policy) for field in (*fields(Policy), *fields(Limits)))


def test_an_empty_file_is_as_strict_as_none(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("")
    assert load_policy(tmp_path / "policy.toml") == Policy()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("min_clients = 2", "min_clients is 2; it must be a whole number of at least 3"),
        ("corrupt = 1.5", "corrupt is 1.5"),
        ('delta = "small"', "delta is 'small'"),
        ("client_epsilon = nan", "client_epsilon is nan"),
        ("sample_epsilon = 0", "sample_epsilon is 0"),
        ("most_answers = true", "most_answers is True"),
        ('masked_only = "no"', "masked_only is 'no'; it must be true or false"),
        ('recipes = "heart"', "recipes is 'heart'; it must be a list of strings"),
        ("data = [1]", r"data is \[1\]; it must be a list of strings"),
        ("[run]\n", "there is no rule 'run'"),
        ("graphs = true", "graphs is True; it must be a table"),
        ('graphs.keys = ["9f"]', "graphs.keys is .*; each must be 64 hex digits"),
        ('graphs.hashes = "9f"', "graphs.hashes is '9f'; it must be a list of strings"),
        ("graphs.megabytes = 0", "graphs.megabytes is 0"),
        ("graphs.in_the_clear = 1", "graphs.in_the_clear is 1; it must be true or false"),
        ("graphs.in_clear = true", "there is no rule 'graphs.in_clear'.* Did you mean 'in_the_clear'"),
        ("min_clients = ", "cannot be read"),
    ],
)
def test_what_a_policy_cannot_say_is_refused(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(line)
    with pytest.raises(PolicyError, match=told):
        load_policy(tmp_path / "policy.toml")


STRATEGIES = [
    fedavg(),
    secure_fedavg(sampling=uniform(20)),
    secure_dp_fedavg(0.5, 2.0, sampling=cyclic(20, population=40)),
]
KINDS = ["query", "query.sizes", "train", "train.keys", "train.masked", "train.other", "evaluate"]


@settings(max_examples=50)
@given(policy=policies, strategy=st.sampled_from(STRATEGIES), kind=st.sampled_from(KINDS))
def test_a_stricter_policy_refuses_whatever_a_looser_one_does(policy: Policy, strategy, kind: str) -> None:
    stricter = replace(
        policy,
        masked_only=True,
        evaluate=False,
        statistics=False,
        min_clients=policy.min_clients + 1,
        corrupt=(policy.corrupt + 1) / 2,
        failure_bits=128,
        client_noise=2 * policy.client_noise + 1,
        sample_noise=2 * policy.sample_noise + 1,
        client_epsilon=1.0,
        sample_epsilon=1.0,
    )

    def broken(rules: Policy) -> set[str]:
        return {text.partition(":")[0] for text in rules.refusals(kind, strategy)}

    assert broken(policy) <= broken(stricter)


def test_the_hash_that_a_policy_lists_stays_what_it_was_and_tells_every_change_of_local_training():
    assert strategy_hash(fedavg()).startswith("9d0ec43836357a19")
    assert strategy_hash(fedper()).startswith("1a8040952a38f9f8")
    locals_ = [LocalTraining(), LocalTraining(max_steps=3), LocalTraining(time_budget=2.0)]
    assert len({strategy_hash(fedavg(local=local)) for local in locals_}) == 3

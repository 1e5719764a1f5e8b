"""What cannot count as it arrives is refused when it is built, by name, with the reason and a remedy."""

import pytest

import hedgerow as hr
from hedgerow.strategies.arrivals import Arrivals, poly
from tests.clocks import DATA, run
from tests.support import LAYOUT, MeanTrainer

MASKED = "chain(quantize(8, range=4.0), mask(0, 0.3, 10))"
ARRIVALS = Arrivals(3, poly(), 10)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: hr.fedbuff(pipeline=hr.parse_pipeline(MASKED)), "masks, and a masked sum is of one cohort"),
        (lambda: hr.fedasync(pipeline=hr.parse_pipeline(MASKED)), "leave out the mask, or train in rounds"),
        (lambda: hr.fedbuff(aggregate=hr.median()), r"median\(\) compares the clients of one round"),
        (lambda: hr.fedbuff(sampling=hr.cyclic(2, 10)), "draws a cohort for a round.*use uniform"),
        (lambda: hr.fedbuff(sampling=hr.poisson(2, 10)), "draws a cohort for a round.*use uniform"),
        (lambda: hr.fedbuff(quorum=0.9), "a quorum is of the cohort of a round"),
        (lambda: hr.fedbuff(buffer=0), "buffer is 0; it must be"),
        (lambda: hr.fedbuff(staleness="poly(0)"), "exponent is 0; it must be a number above 0"),
        (lambda: hr.fedbuff(staleness="exp(2)"), "there is no staleness weight 'exp'"),
        (lambda: hr.fedasync(mixing=1.5), "mixing is 1.5; it must be a number above 0 and at most 1"),
    ],
)
def test_a_part_that_needs_a_cohort_is_refused_with_the_reason(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_noise_and_control_variates_are_refused_too():
    from dataclasses import replace

    with pytest.raises(ValueError, match="adds noise to the sum of a cohort that is drawn independently"):
        replace(hr.dp_fedavg(sampling=hr.poisson(2, 10)), arrivals=ARRIVALS)
    with pytest.raises(ValueError, match="scaffold sends more than its update"):
        replace(hr.scaffold(), arrivals=ARRIVALS)


def test_a_loop_refuses_the_other_kind_of_strategy():
    state = hr.begin(hr.fedavg(), MeanTrainer().initial(0), LAYOUT)
    grid = hr.InProcessGrid(lambda message, context: message, 2)  # nothing is asked
    with pytest.raises(ValueError, match="fedbuff counts replies as they arrive, and has no rounds"):
        next(hr.rounds(grid, hr.fedbuff(), state, LAYOUT, num_rounds=1))
    with pytest.raises(ValueError, match=r"fedavg waits for a cohort; train with rounds\(...\)"):
        next(hr.arrivals(grid, hr.fedavg(), state, LAYOUT, num_rounds=1))
    with pytest.raises(ValueError, match=r"over_select is 0.5; it must be 0: fedbuff has no cohort"):
        next(hr.arrivals(grid, hr.fedbuff(), state, LAYOUT, num_rounds=1, over_select=0.5))


def test_a_simulation_without_a_clock_is_refused():
    with pytest.raises(ValueError, match="fedbuff counts replies as they arrive, and without a clock"):
        run(hr.fedbuff(), clock=None)


def test_models_with_buffers_are_not_mixed():
    from torch import nn

    task = hr.Task(lambda: nn.Sequential(nn.Linear(40, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="fedasync mixes in clients' models, and this one has buffers"):
        list(hr.simulate(task, DATA, hr.fedasync(), rounds=1, clock=hr.clock(flops_per_example=1.0)))


def test_a_recipe_is_refused_as_a_whole_before_anything_runs():
    from hedgerow.experiments.config.errors import ConfigError
    from hedgerow.experiments.config.parse import parse

    table = {
        "name": "arriving", "rounds": 1, "data": {"name": "watch", "partition": {"name": "natural"}},
        "model": {"name": "logistic"}, "strategy": {"name": "fedbuff"},
        "server": {"over_select": 0.5, "retry": 1},
    }  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        parse(table)
    for told in (
        "server.over_select = 0.5: fedbuff has no cohort",
        "server.retry = 1",
        "only [clock] says when",
    ):
        assert told in str(raised.value)
    with pytest.raises(ConfigError, match="masks, and a masked sum is of one cohort"):
        parse({**table, "server": {}, "strategy": {"name": "fedbuff", "pipeline": MASKED}})

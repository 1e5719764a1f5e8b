"""Bad traces, profiles and combinations are refused in one sentence that says what to do."""

import pytest
import tomli_w

import hedgerow as hr
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.recipe import load
from hedgerow.simulation.clock.availability import daily, trace
from hedgerow.simulation.clock.clock import clock
from hedgerow.simulation.clock.profiles import Device, Link
from tests.clocks import DATA, fleet, run
from tests.support import MeanTrainer

TRACES = {
    "name,begin,end\na,1,2\n": "line 1 of {file} is 'name,begin,end'; it must be client,from,to",
    "": "line 1 of {file} is ''; it must be client,from,to",
    "client,from,to\n": "{file} has no line with a period; it must have at least one",
    "client,from,to\na,1\n": "line 2 of {file} has 2 values; it must have 3",
    "client,from,to\na,1,2\nb,x,2\n": "line 3 of {file} has 'x'; it must be seconds, 0 or above",
    "client,from,to\na,-1,2\n": "line 2 of {file} has '-1'; it must be seconds, 0 or above",
    "client,from,to\na,1,inf\n": "line 2 of {file} has 'inf'; it must be seconds, 0 or above",
    "client,from,to\na,5,5\n": "line 2 of {file} is from 5 to 5; it must end after it begins",
    "client,from,to\na,5,9\na,8,12\n": (
        "line 3 of {file} begins at 8; it must begin after 9, where the client's period before ends"
    ),
}


@pytest.mark.parametrize("text", TRACES)
def test_a_bad_trace_is_refused_by_its_line(tmp_path, text):
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^") as raised:
        trace(str(file))
    assert str(raised.value) == TRACES[text].format(file=file)


@pytest.mark.parametrize("file", [{"file": "none.csv"}, {"file": "."}, {}, {"file": 3}])
def test_a_recipe_with_a_bad_trace_names_its_key(tmp_path, file):
    """And a trace is looked for beside the recipe, wherever the command is given."""
    table = {"name": "trace", **file}
    recipe = tmp_path / "a.toml"
    rest = {"devices": ["pi-4"], "links": ["wifi"], "availability": table}
    data = {"name": "heart-disease", "partition": {"name": "natural"}}
    given = {"rounds": 1, "data": data, "model": {"name": "logistic"}, "clock": rest}
    recipe.write_text(tomli_w.dumps({**given, "strategy": {"clients_per_round": 2}}))
    with pytest.raises(ConfigError, match=r"clock\.availability\.file") as caught:
        load(str(recipe))
    assert len(caught.value.mistakes) == 1
    (tmp_path / "none.csv").write_text("\ufeffclient,from,to\na,1,50\n", encoding="utf-8")
    if file == {"file": "none.csv"}:
        assert load(str(recipe)).clock is not None


def test_a_trace_that_is_missing_or_begins_again_too_early_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"file is .*none.csv'; it must be a CSV file that can be read"):
        trace(str(tmp_path / "none.csv"))
    (tmp_path / "trace.csv").write_text("client,from,to\na,1,50\n")
    with pytest.raises(ValueError, match=r"every is 40; it must be 0, or at least 50"):
        trace(str(tmp_path / "trace.csv"), every=40.0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Device(gflops=0.0), "gflops is 0.0; it must be a number above 0"),
        (lambda: Link(up=1.0, down=1.0, loss=1.0), "loss is 1.0; it must be a number from 0 up to"),
        (lambda: Link(up=1.0, down=1.0, duty=0.0), "duty is 0.0; it must be a number above 0 and at most 1"),
        (lambda: clock(("pi4",)), r"devices is 'pi4'; it must be one of .*Did you mean 'pi-4'\?"),
        (lambda: clock(links=("lan",)), r"links is 'lan'; it must be one of .*own_links.lan"),
        (lambda: clock(("pi-4", "pi-5")), "links is .*; it must have one entry for each of"),
        (lambda: clock(shares=(0.5,)), "shares is .*; it must add up to 1, not 0.5"),
        (lambda: clock(dropout=1.0), "dropout is 1.0; it must be a number from 0 up to"),
        (lambda: daily(hours=24.0), "hours is 24; it must be below 24, or availability be left out"),
    ],
)
def test_a_bad_figure_is_refused_by_name(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_what_a_clock_needs_or_excludes_is_said_before_anything_runs():
    from hedgerow.simulation.devices.lognormal import lognormal

    with pytest.raises(ValueError, match=r"timeout is 3; it must be left out: without a clock"):
        run(clock=None, timeout=3.0)
    with pytest.raises(ValueError, match="devices and clock both say how long a step takes"):
        run(devices=lognormal(0.1))
    with pytest.raises(ValueError, match="flops_per_example must be given: MeanTrainer has no torch model"):
        list(hr.simulate(MeanTrainer(), DATA, hr.fedavg(), rounds=1, clock=clock()))


def test_a_run_whose_clients_never_come_back_ends_with_the_reason(tmp_path):
    (tmp_path / "trace.csv").write_text("client,from,to\na,0,1\n")
    with pytest.raises(ValueError, match=r"no client is available after .* simulated seconds: give a longer"):
        run(rounds=50, clock=fleet(availability=trace(str(tmp_path / "trace.csv"))))


def recipe(**settings):
    return {
        "name": "clocked", "rounds": 1, "data": {"name": "watch", "partition": {"name": "iid", "clients": 4}},
        "model": {"name": "logistic"}, **settings,
    }  # fmt: skip


def test_every_mistake_of_a_clock_table_is_found_at_its_key():
    table = {
        "devices": ["pi-4", "board"], "links": ["wifi", "wifi"], "shares": [0.5, 0.5], "dropouts": 0.1,
        "lost_after": -1.0, "own_devices": {"board": {"gflops": 1.0, "volts": 5.0}},
        "availability": {"name": "daily", "hours": 30.0},
    }  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        parse(recipe(clock=table))
    text = str(raised.value)
    for path in ("clock.dropouts", "clock.lost_after", "clock.own_devices.board", "clock.availability.hours"):
        assert path in text, text


def test_a_clock_beside_devices_is_refused():
    devices = {"name": "lognormal", "step_seconds": 0.1}
    with pytest.raises(ConfigError, match=r"\[clock\] says how long a step takes; leave \[devices\] out"):
        parse(recipe(clock={}, devices=devices))

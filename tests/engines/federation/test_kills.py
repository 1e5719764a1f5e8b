"""Processes of a federation are killed at named places: it goes on by itself, to the same model."""

import pytest

from tests.engines.federation.campaign import at_every_place, check_model, summary
from tests.engines.federation.survival import MOST_LATE, WAYS, survivors

PLACES = {
    "node before Outbox.receive": "",  # the server has handed the message out, and the device has not kept it
    "node after Outbox.keep": "",
    "gateway after Gateway._relay /v1/fleet/pull-messages": "",
    "serverapp before run_experiment": "serverapp",  # it does not hold the run's folder yet
    "supervisor after Supervisor._mend": "",
    "superlink after SqlLinkState.get_message_res": "",
}
"""And who is killed before, where it is passed when a process starts."""


def test_killed_at_six_places_a_run_with_error_feedback_ends_with_the_same_model(tmp_path):
    with survivors(tmp_path, "error feedback") as found:
        for place, first in PLACES.items():
            assert found.kill_at(place, first), f"nobody passed: {place}"
        found.finish()
        assert check_model(found, "error feedback") == []
        assert [loss.place for loss in found.losses] == list(PLACES)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_place_and_by_chance_a_run_goes_on_by_itself_in_time(way, tmp_path):
    found = at_every_place(way, tmp_path, by_chance=34)
    assert way == "masked" or found["failed_rounds"] == []
    for row in summary([found]):
        assert row["most"] <= MOST_LATE[row["role"]], row

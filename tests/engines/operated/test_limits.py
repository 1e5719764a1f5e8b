"""A device in its quiet hours: the coordinator sees that it is away, and not why; it counts again after."""

import json

from tests.engines.operated.test_with_a_new_host import counted

ALL_DAY = '\n[limits]\nquiet = ["00:00-12:00", "12:00-00:00"]\n'


def test_a_device_outside_its_limits_is_not_waited_for_and_counts_again_once_it_is_back(real, devices):
    garage, others = devices["garage"], {"kitchen", "shed"}
    real.wait(lambda: counted(real, 0, set(devices)), "a round of all three", 400)
    policy = garage.folder / "policy.toml"
    before, answered = policy.read_text(), len((garage.folder / "answers.jsonl").read_text().splitlines())
    policy.write_text(before.partition("[limits]")[0] + ALL_DAY)
    real.wait(lambda: any("takes no new work: the hours" in line for line in garage.said), "quiet hours", 60)
    rounds = real.rounds()
    real.wait(lambda: counted(real, rounds, others), "a round of the others", 200)

    def shown() -> dict[str, object]:
        return next(row for row in json.loads(real.command("devices", "--json")) if row["name"] == "garage")

    real.wait(lambda: shown()["state"] == "away", "garage is away", 60)
    assert "quiet" not in json.dumps(shown())
    policy.write_text(before)
    rounds = real.rounds()
    real.wait(lambda: counted(real, rounds, set(devices)), "a round of all three", 200)
    assert len((garage.folder / "answers.jsonl").read_text().splitlines()) > answered
    reasons = {why for line in real.run.rounds() for why in line["dropped"].values()}
    assert not any("quiet" in why or "hours" in why for why in reasons)

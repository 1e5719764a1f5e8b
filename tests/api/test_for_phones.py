"""What is said of a run before phones join is what its strategy does."""

import pytest

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.report.for_phones import about, sentence, why_not
from hedgerow.graphs.offer import Offer
from tests.engines.federation.devices import RECIPE

OFFER = Offer("ab" * 32, 4321)
SMALL = ["run.trainer=loop", "model.name=mlp-2nn", "model.hidden=32"]
VALUES = 1218
MASKED = ["strategy.min_clients=10", "strategy.clients_per_round=10", "strategy.population=30"]
NOISE = ["strategy.delta=1e-3", "strategy.noise_multiplier=2.0", "strategy.clip_norm=1.5"]


def said(tmp_path, *overrides: str):
    (tmp_path / "clinics.toml").write_text(RECIPE)
    return about(load(str(tmp_path / "clinics.toml"), [*SMALL, *overrides]), OFFER, "cd" * 32)


def test_an_update_in_the_clear_is_said_to_be_seen(tmp_path):
    found = said(tmp_path)
    assert (found["masked"], found["noise"], found["epsilon"]) == (None, None, None)
    assert "nothing hides it from the coordinator" in sentence(found)
    assert found["model"] == {"name": "mlp-2nn", "values": VALUES}
    assert found["graphs"]["hash"] == OFFER.hash
    assert (found["said_by"], found["build"], found["rounds"]) == ("coordinator", "cd" * 32, 3)
    assert found["schema"]["columns"] == ("age", "pressure")


@pytest.mark.parametrize(
    ("pipeline", "least", "most"),
    [
        ("float32()", 4 * VALUES, 4 * VALUES),
        ("quantize(8)", VALUES, VALUES + 64),
        ("quantize(4)", VALUES // 2, VALUES // 2 + 64),
        ("error_feedback(top_k(0.01))", 48, 100),
    ],
)
def test_bytes_are_those_of_the_pipeline(tmp_path, pipeline, least, most):
    sizes = said(tmp_path, f"strategy.pipeline={pipeline}")["bytes"]
    assert least <= sizes["up"] <= most
    assert sizes["bits_per_value"] == round(8 * sizes["up"] / VALUES, 2)
    assert 4 * VALUES < sizes["down"] < 4 * VALUES + 1000
    assert sizes["graphs"] == OFFER.size


def test_a_mask_is_said_with_how_many_it_hides_among(tmp_path):
    found = said(tmp_path, "strategy.name=secure_fedavg", *MASKED[:2])
    assert found["masked"] == {"least": 6}, "of ten, two may be corrupt and two be away"
    assert "only sums, of at least 6 honest devices" in sentence(found)
    assert "leave a phone under a mask" in sentence(found)


@pytest.mark.parametrize(
    ("name", "by", "says"),
    [
        ("secure_dp_fedavg", "phones", "phones add noise: epsilon at most"),
        ("dp_fedavg", "coordinator", "which sees each phone's change, adds noise: epsilon at most"),
    ],
)
def test_noise_is_said_with_who_adds_it_and_the_epsilon_of_all_rounds(tmp_path, name, by, says):
    given = [f"strategy.name={name}", *(MASKED if by == "phones" else MASKED[1:]), *NOISE]
    found = said(tmp_path, *given)
    assert found["noise"] == {"by": by, "multiplier": 2.0}
    assert found["clip"] == 1.5
    assert 0 < found["epsilon"]["most"] < 5
    assert found["epsilon"]["delta"] == 1e-3
    more = said(tmp_path, *given, "rounds=30")
    assert more["epsilon"]["most"] > found["epsilon"]["most"]
    assert said(tmp_path, *given, "strategy.epsilon=0.5")["epsilon"]["most"] == 0.5
    assert says in sentence(found)
    assert "its loss" not in sentence(found)
    assert (found["masked"] is None) == (by == "coordinator")


def test_noise_in_each_step_is_said_with_the_epsilon_of_a_sample(tmp_path):
    found = said(
        tmp_path, "local.clip_samples=1.0", "local.sample_noise=1.0", "local.sample_rate=0.1",
        "local.sample_delta=1e-4", "local.sample_epsilon=3.0",
    )  # fmt: skip
    assert found["sample_epsilon"]["most"] <= 3.0
    assert "noise in each step: epsilon at most" in sentence(found)


def test_a_run_without_graphs_or_without_a_schema_is_not_for_phones(tmp_path):
    (tmp_path / "clinics.toml").write_text(RECIPE)
    own = load(str(tmp_path / "clinics.toml"), SMALL)
    assert why_not(own, graphs=True) == ""
    assert "--graphs FOLDER" in why_not(own, graphs=False)
    assert "must be 'own'" in why_not(load("heart"), graphs=True)


def test_numbers_to_predict_are_said_by_their_name(tmp_path):
    recipe = RECIPE.replace('classes = ["no", "yes"]\n', "").replace('label = "sick"', 'label = "weight"')
    (tmp_path / "numbers.toml").write_text(recipe)
    found = about(load(str(tmp_path / "numbers.toml"), ["run.trainer=loop"]), OFFER, "0" * 64)
    assert found["learned"].startswith("learn to predict weight from age, pressure")

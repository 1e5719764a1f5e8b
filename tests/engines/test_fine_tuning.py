"""A recipe that pretrains on the server and fine-tunes adapters: what is sent, saved, kept and refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import hedgerow as hr
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.datasets import load_dataset
from hedgerow.datasets.server_part import server_part
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load, load_table
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.runs.pretraining import starting_model
from hedgerow.experiments.runs.run import run_experiment

TABLE = {
    "name": "tuned",
    "rounds": 2,
    "data": {"name": "fashion-mnist", "partition": {"name": "iid", "clients": 100}},
    "model": {"name": "mlp-2nn", "hidden": 16, "lora": {"rank": 2, "train": ["linear"]}},
    "pretraining": {"share": 0.1, "classes": [0, 1, 2], "local": {"epochs": 5}},
    "strategy": {"clients_per_round": 3},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pretrained"


def experiment(*overrides: str) -> Experiment:
    return load_table(TABLE, overrides)


def test_the_server_trains_first_clients_send_adapters_and_the_saved_model_is_whole(tmp_path: Path) -> None:
    tuned = experiment()
    run = run_experiment(tuned, tmp_path / "run")
    assert load(tmp_path / "run") == tuned
    start = starting_model(tuned)
    trainer = TorchTrainer(tuned.task())
    test = tuned.dataset().test
    untrained = trainer.evaluate(trainer.initial(tuned.seed), test)["accuracy"]
    pretrained = trainer.evaluate(start, test)["accuracy"]
    assert untrained < 0.2
    assert pretrained > 0.22  # three classes of ten can be known
    assert run.rounds()[-1]["evaluation"]["accuracy"] > pretrained
    sent = 4 * trainer.layout.dimension
    assert trainer.layout.constant_size > 5 * trainer.layout.dimension
    for line in run.rounds():
        assert not line["dropped"]
        assert all(sent < client["bytes_up"] < sent + 1000 for client in line["clients"].values())
    saved = load_file(run.model)
    kept = np.concatenate([saved[t.name].ravel() for t in trainer.layout.constants])
    assert kept.tobytes() == start.constants.tobytes()
    adapted, plain = tuned.task().model(), tuned.factory()()
    adapted.load_state_dict({name: torch.from_numpy(v) for name, v in saved.items()}, strict=True)
    plain.load_state_dict(tuned.task().model.merge(saved), strict=True)
    x = torch.from_numpy(test.x[:50])
    with torch.no_grad():
        torch.testing.assert_close(plain(x), adapted(x))


def test_without_adapters_the_whole_pretrained_model_is_trained(tmp_path: Path) -> None:
    whole, adapted = experiment("model.lora="), experiment()
    assert whole.model.lora is None
    start, other = starting_model(whole), starting_model(adapted)
    layout = TorchTrainer(whole.task()).layout
    assert (len(start.parameters), layout.constant_size) == (layout.dimension, 0)
    test = whole.dataset().test
    assert TorchTrainer(whole.task()).evaluate(start, test) == TorchTrainer(adapted.task()).evaluate(
        other, test
    )
    assert starting_model(experiment("pretraining=")) is None


def test_what_was_trained_once_is_found_again_by_all_that_it_depends_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = starting_model(experiment())
    trained: list[int] = []
    fit = TorchTrainer.fit

    def counted(self: TorchTrainer, *args: object, **options: object) -> object:
        trained.append(1)
        return fit(self, *args, **options)

    monkeypatch.setattr(TorchTrainer, "fit", counted)
    again = starting_model(experiment("model.lora.rank=3", "rounds=5"))
    assert not trained
    assert np.array_equal(np.sort(first.constants), np.sort(again.constants))
    others = ["seed=1", "pretraining.share=0.3", "pretraining.local.epochs=1", "model.hidden=17"]
    for number, override in enumerate(others, 1):
        starting_model(experiment(override))
        assert len(trained) == number, override
    assert len(list(cache.iterdir())) == 1 + len(others)
    for file in cache.iterdir():
        file.write_bytes(b"torn")
    renewed = starting_model(experiment())
    assert renewed.constants.tobytes() == first.constants.tobytes()


def test_a_folder_that_cannot_be_written_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "file"))
    assert starting_model(experiment("pretraining.local.epochs=1")) is not None
    assert "is not saved in" in caplog.text


def test_a_first_model_that_is_another_models_is_refused() -> None:
    whole, adapted = experiment("model.lora="), experiment()
    start = TorchTrainer(whole.task()).initial(0)
    results = hr.simulate(adapted.task(), adapted.federation(), adapted.strategy(), rounds=1, initial=start)
    with pytest.raises(ValueError, match=r"initial has 13002 parameters, 0 .*model 1834, 0 and 12832"):
        next(results)


def test_no_client_gets_a_sample_of_the_server() -> None:
    tuned = experiment()
    own, rest = tuned.divided()
    assert set(own.y.tolist()) == {0, 1, 2}
    whole = tuned.dataset()
    eligible = np.isin(whole.train.y, [0, 1, 2]).sum()
    assert len(own) == round(0.1 * eligible)
    federation = tuned.federation()
    everyone = [federation.samples(name) for name in federation.names]
    assert sum(map(len, everyone)) + len(own) == len(whole.train)
    rows = sorted(x.tobytes() for part in (own, *everyone) for x in part.x)
    assert rows == sorted(x.tobytes() for x in whole.train.x)
    other, _ = experiment("seed=1").divided()
    assert not np.array_equal(other.x, own.x)
    assert rest.test is whole.test


def test_owners_keep_their_samples() -> None:
    whole = load_dataset("heart-disease")
    own, rest = server_part(whole, 0.5)
    assert len(rest.natural) == len(rest.train) == len(whole.train) - len(own)
    for owner in range(len(whole.clients)):
        held = {x.tobytes() for x in whole.train.x[whole.natural == owner]}
        assert {x.tobytes() for x in rest.train.x[rest.natural == owner]} <= held


WRONG = {
    "model.lora.rank=0": r"model\.lora\.rank = 0: it must be",
    "model.lora.rnk=2": r"model\.lora\.rnk = 2: there is no such key",
    "model.lora=3": r"model\.lora = 3: it must be a table",
    'model.lora.targets="x"': r"model\.lora\.targets .* it must be a list",
    "pretraining.share=1.5": r"pretraining\.share = 1\.5: it must be",
    "pretraining.epochs=3": r"pretraining\.epochs = 3: there is no such key",
    "pretraining.local.batch_size=-1": r"pretraining\.local\.batch_size = -1: it must be",
    "pretraining.local.epoch=1": r"pretraining\.local\.epoch = 1: there is no such key.*'epochs'",
    "pretraining.local=1": r"pretraining\.local = 1: it must be a table",
    "pretraining=1": r"pretraining = 1: it must be a table",
    "model.hiden=3": r"model\.hiden = 3: there is no such key; allowed are .*'?lora",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_mistake_is_told_at_its_place(override: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[override]):
        experiment(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretraining.classes=[10]"], "classes has 10; each must be .* from 0 to 9"),
        (["pretraining.classes=[]"], "share is 0.1, 0 of 6000"),
        (["pretraining.classes=", "pretraining.share=1.0"], "share is 1.0, 6000 of 6000"),
        (["model.lora.targets=['hiden']"], "targets has 'hiden', which names no linear layer"),
    ],
)
def test_what_shows_with_the_data_is_refused_before_the_first_round(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_experiment(experiment(*overrides), tmp_path / "run")


def test_a_configuration_without_the_new_tables_is_written_as_before() -> None:
    plain = experiment("model.lora=", "pretraining=")
    assert "lora" not in to_toml(plain)
    assert "pretraining" not in to_toml(plain)

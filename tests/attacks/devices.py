"""A device as a hostile server reaches it: the app that a node runs, with the node's own configuration.

The run config is the server's, and so is each message.
"""

import json
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from hedgerow.client.discretion import ClientFailed
from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.flower_app import recipe_app
from hedgerow.records import pack_train
from hedgerow.simulation import flower

OPEN = Policy.unenrolled()


class Device:
    """A device with a policy, as the server reaches it."""

    def __init__(self, folder: Path, policy: Policy | None, data: str = "heart-disease", **config) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        if policy is not None:
            (folder / NAME).write_text(policy_text(policy))
        self.config = {"partition-id": 1, "enrolment": str(folder), "data": data, **config}

    def ask(self, kind="train", recipe="heart", *overrides, content=None, run=1, round=1, client=None):
        """The answer to one message of a run."""
        shown = " ".join(f"'{text}'" for text in overrides)
        context = Context(run, 1, self.config, RecordDict(), {"recipe": recipe, "overrides": shown})
        with flower.task_identity(1):
            message = flower.instruction(
                run, "m", 1, content or RecordDict(), message_type=kind, group_id=str(round)
            )
            return (client or recipe_app.client_app)(message, context).content

    def train(self, *overrides, recipe="heart", round=1, **options):
        """The answer to a request for an update in the clear."""
        return self.ask(
            "train", recipe, *overrides, content=request(overrides, round), round=round, **options
        )

    def refused(self, *arguments, **options) -> str:
        """What the server is told."""
        with pytest.raises((AgainstPolicy, ClientFailed)) as caught:
            self.ask(*arguments, **options)
        assert str(self.folder) not in str(caught.value)
        return str(caught.value)

    @property
    def answers(self) -> list[dict]:
        file = self.folder / "answers.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def request(overrides=(), round: int = 1) -> RecordDict:
    """What the server of a run on hearts asks, with an honest model."""
    trainer = TorchTrainer(load("heart", overrides).task())
    return pack_train(trainer.initial(0), trainer.layout, round=round, seed=0)


def rules(text: str) -> set[str]:
    return {part.partition(":")[0] for part in text.removeprefix("rule ").split("; rule ")}

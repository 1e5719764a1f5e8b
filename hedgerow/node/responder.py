"""How a device answers a message: with the run's description, its policy and its data."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import final

from hedgerow.client.answer import identify, respond
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.constants import NAME as CONSTANTS
from hedgerow.client.data import ClientData, held_out_samples
from hedgerow.client.discretion import discreet
from hedgerow.client.guard import Guard
from hedgerow.client.kinds import OPENINGS
from hedgerow.client.machine import Machine
from hedgerow.client.policy import AgainstPolicy
from hedgerow.client.secure.enrolment import load_enrolment
from hedgerow.client.state import FolderState, StateStore
from hedgerow.client.trainer import Trainer
from hedgerow.graphs.agreement import check_run
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.offer import Offer
from hedgerow.models import MODELS
from hedgerow.node.described_trainer import described_trainer, trainers_for
from hedgerow.node.device import Device, FileNotes
from hedgerow.node.errors import (
    CannotTrain,
    DataDoNotFit,
    NoDescription,
    NoGraphs,
    NoTrainer,
    OtherVersion,
    UnknownDescription,
)  # fmt: skip
from hedgerow.node.graphs import Ask, DeviceGraphs, MissingGraphs, nowhere
from hedgerow.node.outbox import Outbox, key_of
from hedgerow.node.own_samples import OwnSamples, own_data, packaged_part
from hedgerow.recipe.announcement import RECORD, UNKNOWN, Announced, Described, read, understand
from hedgerow.recipe.own_data import DoesNotFit
from hedgerow.recipe.versions import supported
from hedgerow.secure.codec import decode
from hedgerow.secure.errors import Refused
from hedgerow.secure.messages import Setup, name_of
from hedgerow.types import Model, Samples
from hedgerow.wire.codec import encode
from hedgerow.wire.content import Content
from hedgerow.wire.messages import named_only, unpack_stage


@final
class Responder:
    """Answers messages of any run, one after another.

    Args:
        device: its folder.
        outbox: keeps what was answered.
        machine: that the device's limits are held against.
    """

    def __init__(self, device: Device, outbox: Outbox, machine: Machine | None = None) -> None:
        self._device, self._outbox, self._machine = device, outbox, machine or Machine()
        self._graphs = DeviceGraphs(device.folder)
        self._runs: dict[str, LocalRun] = {}

    def answer(self, kind: str, round: str, content: Content, ask: Ask = nowhere) -> str:
        """Answer a message; returns the key of the answer, which is then saved in the outbox.

        Args:
            kind: of the message, such as `"train"`.
            round: from its envelope.
            content: of the message.
            ask: fetches from the coordinator, for graphs that the device lacks.

        Raises:
            PayloadError, Refused: with a text that may be sent.
            OSError: the graphs cannot be fetched now.
        """
        if RECORD not in content:
            raise NoDescription
        announced = read(content)
        if not announced.description and self._device.description(announced.digest) is None:
            raise UnknownDescription
        with discreet():
            run, guard = self._run(announced), self._device.guard()
            _check(guard, kind, run.described, run.chosen)
        if kind != "query":
            self._prepare(run, guard, ask)
        with discreet():
            asked = {name: record for name, record in content.items() if name != RECORD}
            # A request is the same with and without what the device already has of the model.
            key = key_of(kind, announced.run, encode(named_only(asked)))
            if kind != "query" and self._outbox.answer(key) is not None:
                return key
            guard.available(kind, self._machine)
            if kind in OPENINGS:
                of = name_of(announced.run, kind.partition(".")[0])
                self._outbox.claim(of, decode(Setup, unpack_stage(asked)).round, key)
            with guard.alone(kind):
                guard.check(kind, run.described.strategy)
                number = int(announced.run, 16)
                with guard.errors_counted(kind, run=number, round=round):
                    answer = encode(run.respond(kind, asked, self._client(announced.run, run, guard)))
                guard.record(kind, run.described.strategy, run=number, round=round, size=len(answer))
                self._outbox.keep(key, answer)
            return key

    def _prepare(self, run: "LocalRun", guard: Guard, ask: Ask) -> None:
        """Make a run's trainer, and fetch the graphs that it needs; raises `Refused` and `OSError`."""
        with discreet():
            lacking = run.prepare(guard)
        if lacking is None:
            return
        refused = self._graphs.fetch(lacking, ask)  # outside: what the network does is no answer
        with discreet():
            if refused or run.prepare(guard) is not None:
                raise NoGraphs(refused or "they are not on the disk")

    def _run(self, announced: Announced) -> "LocalRun":
        if announced.version and not supported(announced.version):
            raise OtherVersion
        if announced.description:
            self._device.learn(announced.digest, announced.description)
        if announced.digest not in self._runs:
            text = announced.description or self._device.description(announced.digest)
            own = self._device.enrolled
            run = LocalRun(
                understand(text or ""), self._device.name, Path(own.data), self._graphs, own.trainer
            )
            self._runs = {announced.digest: run}  # one at a time: a trainer and its data take memory
        return self._runs[announced.digest]

    def _client(self, name: str, run: "LocalRun", guard: Guard) -> LocalClient:
        device, state = self._device, self._device.state(name)
        return LocalClient(
            device.name,
            run.samples,
            StateStore(
                FolderState(state, device.name), FileNotes(state / "notes"), device.folder / CONSTANTS
            ),
            guard.samples_file,
            partial(load_enrolment, device.folder, trust_on_first_use=device.enrolled.first_use),
            run.held_out,
        )


@final
class LocalRun:
    """A run on this device; large objects are made when they are needed."""

    def __init__(
        self, described: Described, client: str, path: Path, graphs: DeviceGraphs, chosen: str = ""
    ) -> None:
        self.described, self.chosen = described, chosen
        self._client, self._path, self._graphs = client, path, graphs
        self._trainer: Trainer | None = None
        self._taken = False
        self.start: Model | None = None
        """Where personal layers start; `None` for where the trainer has them start."""

    @cached_property
    def data(self) -> ClientData:
        """The device's own data."""
        run = self.described
        samples: ClientData
        if run.schema is None:
            samples = packaged_part(self._client, run.data, run.seed)
        else:
            samples = OwnSamples(self._client, self._path, run.schema)
        return own_data(samples, run.held_out, run.held_out_by, run.seed)

    def samples(self) -> Samples:
        """The samples that the device trains on; raises `DataDoNotFit`."""
        with _fitting():
            return self.data.samples(self._client)

    def held_out(self) -> Samples:
        """What it measures models on; raises `DataDoNotFit`, and `ValueError` where there is nothing."""
        with _fitting():
            return held_out_samples(self.data, self._client)

    def prepare(self, guard: Guard) -> Offer | None:
        """Make the trainer; returns graphs that must be fetched for it first.

        Raises:
            AgainstPolicy: the device does not take the run's graphs.
            NoTrainer, OtherModel: as `described_trainer`.
        """
        if self._taken and self.described.graphs is not None:  # the policy may have changed since
            guard.check_offer(self.described.graphs, self.described.strategy)
        if self._trainer is None:
            try:
                offered = partial(self._offered, guard)
                self._trainer = described_trainer(self.described, self.chosen, offered)
            except MissingGraphs as missing:
                return missing.offer
        return None

    @property
    def trainer(self) -> Trainer:
        """What `prepare` has made."""
        assert self._trainer is not None
        return self._trainer

    def respond(self, kind: str, content: Content, client: LocalClient) -> Content:
        """The answer of a client, whose trainer is made."""
        if kind == "query":
            return identify(client)
        try:
            config = ClientConfig(self.described.strategy, self.trainer, initial=self.start)
        except ValueError as error:
            raise CannotTrain(str(error)) from error
        return respond(config, client, kind, content)

    def _offered(self, guard: Guard) -> Graphs:
        """The graphs of the run, if the device's policy takes them; raises `MissingGraphs` too."""
        run = self.described
        assert run.graphs is not None
        guard.check_offer(run.graphs, run.strategy)
        found = self._graphs.get(run.graphs)
        guard.check_graphs(found)
        try:
            self.start = check_run(found, run.strategy, run.kind, run.layout, run.seed)
        except BadGraphs as error:
            raise AgainstPolicy(f"rule graphs: {error}") from error
        self._taken = True
        return found


@contextmanager
def _fitting() -> Iterator[None]:
    """Turn errors about the device's data into `DataDoNotFit`."""
    try:
        yield
    except DoesNotFit as error:
        raise DataDoNotFit(str(error)) from error


def reason_of(error: Refused) -> str:
    """The text that is sent for a refusal."""
    if isinstance(error, UnknownDescription):
        return UNKNOWN
    return f"{type(error).__name__}: {error}"


def _check(guard: Guard, kind: str, run: Described, chosen: str) -> None:
    """Refuse what the policy forbids, before any data is loaded and any model built."""
    guard.policy.check(kind, run.strategy)
    if guard.policy.recipes is not None:
        raise AgainstPolicy(
            "rule recipes: the device accepts only listed recipes, and this run names none; list the"
            " strategy's hash under strategies"
        )
    if run.schema is None and run.data != guard.data:
        raise AgainstPolicy("rule data: the run is for a data set other than the device's own")
    if run.model not in MODELS.names():
        raise AgainstPolicy("rule recipes: a run may name only installed models, and no code of its own")
    if not trainers_for(run, chosen):
        raise NoTrainer

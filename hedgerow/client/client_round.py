"""One client's turn in a round: what it brings, spends, sends and keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, final

import numpy as np
from flwr.app import Context

from hedgerow.client import account
from hedgerow.client.guard import Guarding
from hedgerow.client.state import ClientState, ContextState, FolderState
from hedgerow.client.trainer import Trainer
from hedgerow.privacy.ledger import Ledger
from hedgerow.records import Reply, TrainRequest
from hedgerow.spans import span
from hedgerow.strategies import control
from hedgerow.strategies.pipeline.coding import encode
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import RingVector, Shape, to_ring
from hedgerow.types import Arrays, Fit, Payload, PayloadError, RoundContext, Samples, Vector

_NONE: Vector = np.empty(0, np.float32)


@final
@dataclass(frozen=True)
class Setting:
    """What is the same in every turn of every client.

    Attributes:
        strategy: the same as the server's.
        trainer: of the clients.
        state_folder: where clients keep what they carry along; `None` for Flower's context.
        seeded_noise: a client's noise follows from the run's seed.
        guard: makes the guard of a device; `None` in a simulation.
    """

    strategy: Strategy
    trainer: Trainer
    state_folder: Path | None
    seeded_noise: bool
    guard: Guarding | None = None


@final
@dataclass(frozen=True)
class Turn:
    """One client in one round."""

    setting: Setting
    context: Context
    request: TrainRequest
    client: str

    def correction(self) -> dict[str, Vector]:
        """The trainer's argument `correction`, where the strategy has control variates.

        Raises:
            PayloadError: the server has them and this client has not, or the other way round.
            ValueError: the trainer takes none.
        """
        wanted = self.setting.strategy.control_variates
        if bool(self.request.control.size) != wanted:
            has, wants = ("no", "one") if wanted else ("a", "none")
            raise PayloadError(
                f"the server sent {has} control variate, and this client's strategy has {wants};"
                " both must be started from the same configuration"
            )
        if not wanted:
            return {}
        if not self._trainer_takes("correction"):
            raise ValueError(
                f"{type(self.setting.trainer).__name__}.fit takes no correction, which control variates need;"
                " train with TorchTrainer or CohortTrainer, or take another strategy"
            )
        kept = self._kept.load(self.request.round)
        return {"correction": control.correction(self.request.control, kept)}

    def fit(self, samples: Samples, correction: Mapping[str, Vector]) -> Fit:
        """Train, within the client's budget where it has one.

        Raises:
            BudgetSpent: one more round would pass it.
            ValueError: the trainer adds no noise where some is asked for, or cannot train.
        """
        request, local = self.request, self.setting.strategy.local
        options: dict[str, Any] = dict(correction)
        own = self._account() if local.sample_noise else None
        if own is not None:
            own.check()
            if not self._trainer_takes("seeded_noise"):
                raise ValueError(
                    f"{type(self.setting.trainer).__name__}.fit takes no seeded_noise, and so does not add"
                    " sample_noise; train with TorchTrainer or CohortTrainer"
                )
            options["seeded_noise"] = self.setting.seeded_noise
        with span("train"):
            fit = self.setting.trainer.fit(
                request.model, samples, local,
                seed=request.seed, round=request.round, client=self.client, **options,
            )  # fmt: skip
        if own is not None:
            own.record(request.round, fit)
        return fit

    def reply(self, fit: Fit) -> Reply:
        """What is sent of a fit; the client's state is kept."""
        payload, change = self._encode(fit)
        return Reply(payload, fit.buffers, fit.num_examples, fit.metrics, change)

    def in_ring(self, fit: Fit, shape: Shape) -> RingVector:
        """What is masked of a fit, in the ring of its cohort; the client's state is kept."""
        payload, _ = self._encode(fit)
        return to_ring(payload, fit, shape, self.setting.strategy.pipeline)

    @property
    def _kept(self) -> ClientState:
        folder = self.setting.state_folder
        return ContextState(self.context) if folder is None else FolderState(folder, self.client)

    def _trainer_takes(self, name: str) -> bool:
        return name in signature(self.setting.trainer.fit).parameters

    def _account(self) -> account.Account:
        file, local, seeded = self._account_file(), self.setting.strategy.local, self.setting.seeded_noise
        if file is None:
            ledger = account.remembered(local, self._kept.load(self.request.round))
        else:
            ledger = Ledger(account.budget(local), file)
        return account.Account(self.client, local, ledger, seeded=seeded)

    def _account_file(self) -> Path | None:
        """Where the account lies: one for a device, whatever a run calls the client; `None` for memory."""
        setting = self.setting
        file = None if setting.guard is None else setting.guard(self.context.node_config).samples_file
        if file is None and setting.state_folder is not None:
            file = FolderState(setting.state_folder, self.client).file("privacy.jsonl")
        return account.require_file(file, seeded=setting.seeded_noise)

    def _encode(self, fit: Fit) -> tuple[Payload, Vector]:
        """The encoded delta, and the change of the control variate; the client's state is kept."""
        strategy, request = self.setting.strategy, self.request
        where = RoundContext(
            request.seed, request.round, self.client, self.setting.trainer.layout, fit.num_examples,
            self.setting.seeded_noise,
        )  # fmt: skip
        with span("encode"):
            counted = strategy.local.sample_noise > 0 and self._account_file() is None
            stateful = strategy.stateful or counted
            if not stateful:
                return encode(strategy.pipeline, fit.delta, {}, where, finite=fit.finite)[0], _NONE
            before, change = self._kept.load(request.round), _NONE
            others = (*control.STATE, account.STATE)
            residuals = {key: value for key, value in before.items() if key not in others}
            payload, after = encode(strategy.pipeline, fit.delta, residuals, where, finite=fit.finite)
            if strategy.control_variates:
                change, own = self._advance(before, fit)
                after = {**after, **own}
            if counted:
                after = {**after, **account.remember(before, request.round)}
            self._kept.save(request.round, after)
        return payload, change

    def _advance(self, before: Arrays, fit: Fit) -> tuple[Vector, Arrays]:
        request, local = self.request, self.setting.strategy.local
        return control.advance(
            request.control, before, fit.delta,
            steps=local.steps(fit.num_examples), learning_rate=local.learning_rate_at(request.round),
            round=request.round, uncounted_since=request.uncounted.get(self.client, 0),
        )  # fmt: skip

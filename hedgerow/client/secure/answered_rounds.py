"""What a client has answered, added noise to, and learnt: in a folder, or in Flower's context."""

import json
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context

from hedgerow.files import file_name, write_whole
from hedgerow.secure.errors import AlreadyAnswered, AskedTooOften, LimitReached, Malformed, StaleRound

_KEY = "hedgerow.secure.memory"
_MOST_RUNS = 256


class SecureMemory:
    """What a client remembers of secure rounds.

    Args:
        context: keeps it where there is no folder: in memory, as long as the
            node lives.
        folder: keeps it so that it outlives the process and a power cut.
        client: stable name of the client.
    """

    def __init__(self, context: Context, folder: Path | None, client: str) -> None:
        self._context = context
        self._file = None if folder is None else folder / file_name(client) / "secure.json"

    def claim(self, run: str, round: int, apart: int = 1) -> None:
        """Remember that a round is answered, before it is.

        Raises:
            AskedTooOften: the last was less than so many rounds before.
            AlreadyAnswered: it was answered before.
            StaleRound: a later round of the run was answered before.
        """
        told = self._load()
        last = int(told["runs"].get(run, 0))
        if round == last:
            raise AlreadyAnswered(f"round {round} was answered before; a client answers each once")
        if round < last:
            raise StaleRound(f"round {round} comes after round {last}, which was answered before")
        if last and round < last + apart:
            raise AskedTooOften(
                f"round {round} comes after round {last}, which was answered; two rounds of a client must be"
                f" {apart} rounds apart, by the strategy's sampling"
            )
        runs = {name: number for name, number in told["runs"].items() if name != run}
        told["runs"] = dict([*runs.items(), (run, round)][-_MOST_RUNS:])
        self._save(told)

    def check(self, most: int | None) -> None:
        """Raise `LimitReached` where noise was added to so many sums, of all runs."""
        noised = int(self._load().get("noised", {}).get("sums", 0))
        if most is not None and noised >= most:
            raise LimitReached(
                f"this client has added noise to {noised} sums, and its own limit, most-rounds, is {most};"
                " each tells a little of its data, so that a higher limit is a larger epsilon"
            )

    def count(self, most: int | None) -> None:
        """Remember one more sum that noise was added to, before it is; raises `LimitReached`."""
        self.check(most)
        told = self._load()
        told["noised"] = {"sums": int(told.get("noised", {}).get("sums", 0)) + 1}
        self._save(told)

    def learned(self) -> dict[str, bytes]:
        """Keys that were taken on first use."""
        return {name: bytes.fromhex(key) for name, key in self._load()["keys"].items()}

    def learn(self, name: str, key: bytes) -> None:
        """Keep a key that was taken on first use."""
        told = self._load()
        told["keys"][name] = key.hex()
        self._save(told)

    def _load(self) -> dict[str, dict[str, Any]]:
        text = '{"runs": {}, "keys": {}}'
        try:
            if self._file is not None and self._file.exists():
                text = self._file.read_text(encoding="utf-8")
            elif self._file is None and _KEY in self._context.state:
                text = str(self._context.state[_KEY]["told"])
            told: dict[str, dict[str, Any]] = json.loads(text)
        except (OSError, ValueError) as error:
            # To go on without it could mean to answer twice.
            raise Malformed(
                f"{self._file} cannot be read: {error}; move it away, and start a new run"
            ) from error
        return told

    def _save(self, told: dict[str, dict[str, Any]]) -> None:
        if self._file is None:
            self._context.state[_KEY] = ConfigRecord({"told": json.dumps(told)})
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, json.dumps(told).encode())

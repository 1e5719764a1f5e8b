"""Write the frozen transcript: `python -m tests.golden.make_transcript`, when the wire changes on purpose.

Ten clients; three leave, each before another stage. Randomness is replaced by a stream
that can be repeated, so that every byte of the round is the same each time.
"""

from pathlib import Path

from tests.secure_round import STAGES, Rehearsal, names, shape_of

FILE = Path(__file__).with_name("transcript.txt")
LEAVERS = {"client-001": "shares", "client-006": "masked", "client-008": "survivors"}


def rehearse() -> Rehearsal:
    """The round, run to its end."""
    rehearsal = Rehearsal(names(10), shape=shape_of(10, bits=11, length=7), seed="golden")

    def leaving(stage: str, name: str) -> bool:
        return name in LEAVERS and STAGES.index(LEAVERS[name]) <= STAGES.index(stage)

    total = rehearsal.run(leaving)
    rehearsal.transcript.append(("sum", total.values.tobytes() + total.words.tobytes()))
    return rehearsal


def lines() -> list[str]:
    """`what: bytes` of each message, in order."""
    return [f"{what}: {data.hex()}" for what, data in rehearse().transcript]


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")

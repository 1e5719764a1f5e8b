"""Requests of runs with a downlink, and what a client makes of them: `vectors/downlinks.json`.

By name, `description` and `layout`, and each message in its turn: its `kind` and `request`; what the client
`lacks`, with which it is then asked again; or the parameters that it decodes, `model`, and its `reply`. The
model before round 1 is one that no client makes from the seed.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from hedgerow.client.answer import answer, whole_request
from hedgerow.client.client_round import ClientConfig
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.recipe.strategy import build
from hedgerow.secure.errors import Refused
from hedgerow.server.broadcast import Broadcasts, begin_downlink
from hedgerow.server.request import LACKS, Form, make_request
from hedgerow.types import Layout, ServerState
from hedgerow.wire import codec
from tests.golden.client_vectors import CLIENT, PLAIN, SEED, WHOLE, Exact, local_client, model, shown_layout

RUNS: dict[str, tuple[Layout, str]] = {
    "stateless": (WHOLE, "eden(4)"),
    "entropy": (PLAIN, "entropy(quantize(4))"),
    "error feedback": (PLAIN, "error_feedback(top_k(0.2))"),
}
ASKED = (1, 2, 3, 5)
"""The client is not asked in round 4."""


def downlinks() -> Any:
    """One client in the rounds of each run."""
    return {name: _run(*run) for name, run in RUNS.items()}


def _run(layout: Layout, downlink: str) -> dict[str, Any]:
    description = {"preset": "fedavg", "downlink": downlink}
    strategy = build(description)
    config = ClientConfig(strategy, Exact(layout, False), seeded_noise=True)
    client = local_client(layout, CLIENT, SimulatedEnrolments(bytes(32)))
    broadcasts, first = Broadcasts(strategy.downlink), model(layout, 1)
    state = ServerState(0, first, downlink=begin_downlink(strategy.downlink, first.parameters))
    told = []
    for round in range(1, max(ASKED) + 1):
        request = make_request(broadcasts, state, layout, seed=SEED, cohort=())
        form: Form | None = request.form(CLIENT) if round in ASKED else None
        while form is not None:
            content, form = request.content(form), None
            asked = codec.encode(content)
            message: dict[str, Any] = {"kind": "train", "request": asked.hex()}
            try:
                decoded = whole_request(config, client, content).model.parameters
                message["model"] = np.ascontiguousarray(decoded, "<f4").tobytes().hex()
                message["reply"] = answer(config, client, "train", asked).hex()
            except Refused as error:
                message["lacks"] = type(error).__name__
                form = request.form(CLIENT).filled(LACKS[message["lacks"]])
            told.append(message)
        there = {CLIENT} if round in ASKED else set()
        moved = replace(state, round=round, model=model(layout, round + 1))
        state = broadcasts.sent(state, moved, there, layout, SEED)
    return {"description": json.dumps(description), "layout": shown_layout(layout), "messages": told}

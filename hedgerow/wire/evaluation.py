"""The answer to an `evaluate` message, which has the form of a `train` message: a reply without a payload.

| message | content |
|---|---|
| `evaluate` | as `train` |
| `evaluate` reply | config `hedgerow`: round, client; metrics |
| `evaluate.STAGE`, and its reply | as `train.STAGE`; the ring vector is of what was measured |

Its metrics are those of a `train` reply, about held-out samples; the weight is 1.
"""

from hedgerow.types import Layout, Payload, PayloadError
from hedgerow.types.evaluation import Measured
from hedgerow.wire.content import ArrayRecord, Content
from hedgerow.wire.replies import Reply, pack_reply, unpack_reply

_PAYLOAD = "payload"


def pack_evaluation(measured: Measured, *, round: int, client: str) -> Content:
    """A client's answer."""
    reply = Reply(Payload({}), {}, measured.num_examples, measured.metrics)
    content = pack_reply(reply, round=round, client=client)
    return {key: record for key, record in content.items() if key != _PAYLOAD}


def unpack_evaluation(content: Content, layout: Layout, *, round: int, client: str) -> Measured:
    """Read and check an answer.

    Raises:
        PayloadError: saying what was given and what is allowed.
    """
    if _PAYLOAD in content:
        raise PayloadError(f"the reply has a {_PAYLOAD!r}; an evaluation must have none")
    whole = {**content, _PAYLOAD: ArrayRecord()}
    reply = unpack_reply(whole, layout, round=round, client=client, max_weight=1.0, streams={})
    return Measured(reply.num_examples, reply.metrics)

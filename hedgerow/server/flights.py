"""What is on its way in an asynchronous run, in a checkpoint."""

from typing import Any

from hedgerow.types import Arrays, Model
from hedgerow.types.flights import Flight, Flights

_NAME, _PARAMETERS, _BUFFERS = "flights", "flying.parameters.", "flying.buffers."


def pack_flights(flights: Flights, header: dict[str, Any]) -> Arrays:
    """The models that were sent, as arrays; the rest is written into the header."""
    header[_NAME] = {
        "asked": flights.asked,
        "flights": [[each.client, each.version, each.at, each.down] for each in flights.flights],
    }
    parameters = {f"{_PARAMETERS}{version}": model.parameters for version, model in flights.models.items()}
    return parameters | {f"{_BUFFERS}{version}": model.buffers for version, model in flights.models.items()}


def unpack_flights(header: dict[str, Any], arrays: Arrays) -> Flights:
    """Undo `pack_flights`.

    >>> header = {}
    >>> arrays = pack_flights(Flights(3, (Flight("a", 2, 1.5),)), header)
    >>> unpack_flights(header, arrays).flights
    (Flight(client='a', version=2, at=1.5, down=0),)
    """
    found = header.get(_NAME, {"asked": 0, "flights": []})
    versions = sorted(int(name.removeprefix(_PARAMETERS)) for name in arrays if name.startswith(_PARAMETERS))
    models = {v: Model(arrays[f"{_PARAMETERS}{v}"], arrays[f"{_BUFFERS}{v}"]) for v in versions}
    return Flights(found["asked"], tuple(Flight(*each) for each in found["flights"]), models)

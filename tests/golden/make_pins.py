"""Write the golden figures: `python -m tests.golden.make_pins`, by hand, when one changes on purpose.

`pins.json` holds figures of noise, clipping, release and account that no formula gives anew: seeded noise,
steps of a search, lines of a ledger. Numbers are compared to seven digits, all else exactly.
"""

import json
from pathlib import Path
from typing import Any

from tests.golden import accounting_pins, release_pins

FILE = Path(__file__).with_name("pins.json")
TABLES = {**accounting_pins.TABLES, **release_pins.TABLES}


def table(name: str) -> Any:
    """What is computed now, as JSON holds it."""
    return json.loads(json.dumps(TABLES[name]()))


def main() -> None:
    """Write all of them."""
    lines = (f" {json.dumps(name)}: {json.dumps(table(name))}" for name in TABLES)
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

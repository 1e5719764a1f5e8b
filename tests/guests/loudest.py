"""A command: who has sent most."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.experiments.runs.store import RunFolder


def loudest(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Print the client that has been asked most often in a run."""
    asked = Counter(name for line in RunFolder(run).rounds() for name in line["clients"])
    print(*asked.most_common(1)[0])

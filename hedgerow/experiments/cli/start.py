"""Entry point of the `hedgerow` command: Ctrl-C ends it without a traceback even while it is loading."""


def main() -> None:
    """The `hedgerow` command."""
    try:
        from hedgerow.experiments.cli.main import main as command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    command()

"""Where the `hedgerow` command begins: Ctrl-C ends it without a traceback while it is still being loaded."""


def main() -> None:
    """The `hedgerow` command."""
    try:
        from hedgerow.experiments.cli.main import main as command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    command()

"""Run a Flower `ServerApp` on a grid of this process."""

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from hedgerow.simulation import flower
from hedgerow.simulation.grid import InProcessGrid


def run_server_app(server_app: ServerApp, grid: InProcessGrid) -> Context:
    """Run a Flower `ServerApp`, including its lifespan, on a grid until it ends.

    Returns:
        The server's context after the run.

    Raises:
        RuntimeError: this process is in a real Flower run, or the grid is in use already.
        Exception: whatever the app raises, unchanged.
    """
    context = Context(
        run_id=grid.run.run_id,
        node_id=flower.SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(grid.run_config),
    )
    with grid:
        server_app(grid, context)
    return context

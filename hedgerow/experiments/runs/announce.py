"""How a server announces an experiment to devices: its resolved description, and the run's name."""

import hedgerow
from hedgerow.experiments.config.schema import Experiment
from hedgerow.graphs.offer import Offer
from hedgerow.recipe.announcement import Announcement
from hedgerow.recipe.strategy import describe
from hedgerow.types import Layout


def announcement_of(
    experiment: Experiment, layout: Layout, run: str, graphs: Offer | None = None
) -> Announcement:
    """The announcement of a run.

    Args:
        experiment: that is run.
        layout: of its model.
        run: `server.announced.run_id(folder)`.
        graphs: by which devices without torch may train.

    Raises:
        ValueError: the strategy cannot be described, or the data cannot be read.
    """
    data, facts, factory = experiment.data, experiment.facts(), experiment.factory()
    lora, schema = experiment.model.lora, experiment.own_schema
    model, layers = experiment.model, experiment.model.low_rank_layers
    rank = {"low_rank": {"rank": model.low_rank, "layers": layers and list(layers)}} if model.low_rank else {}
    arguments = {key: list(v) if isinstance(v, tuple) else v for key, v in factory.arguments.items()}
    description = {
        "strategy": describe(experiment.strategy()),
        "task": {
            "kind": facts.task,
            "model": {"name": factory.name, "arguments": arguments},
            "lora": None if lora is None else lora.model_dump(mode="json"),
            **rank,
            **({"one_shot": model.computed} if model.one_shot else {}),
        },
        "data": {
            **(schema.to_json() if schema else {}),
            "name": data.name,
            "input_shape": list(facts.input_shape),
            "num_outputs": facts.num_outputs,
            "held_out": data.held_out,
            "held_out_by": data.held_out_by,
        },
        "run": {"trainer": experiment.run.trainer, "precision": experiment.run.precision},
        "layout": layout.fingerprint,
        "seed": experiment.seed,
        **({} if graphs is None else {"graphs": graphs.to_json()}),
    }
    return Announcement.of(description, run=run, version=hedgerow.__version__)

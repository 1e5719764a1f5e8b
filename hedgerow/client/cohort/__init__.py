"""Many clients' local training as one batched computation."""

from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.cohort.trainer import CohortTrainer

__all__ = ["Choice", "CohortTrainer"]

"""Nothing here talks to anything but this machine."""

import os

from hypothesis import settings

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

# Machines are shared and noisy: no test is timed.
settings.register_profile("hedgerow", deadline=None)
settings.load_profile("hedgerow")

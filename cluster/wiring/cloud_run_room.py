"""How much room Cloud Run has left, as this node's pool last saw it. Imports nothing of Google's."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.cloud_run_options import parse_places
from cluster.runtime.cloud_run.notes import RoomFile, directory
from cluster.settings import RuntimeName, Settings


def room_left(settings: Settings) -> Mapping[str, int]:
    """Return how many containers each place still takes, by PROJECT/REGION; none for another runtime.

    A place that nobody has counted yet is not there. Blocks.
    """
    if settings.runtime is not RuntimeName.CLOUD_RUN:
        return {}
    used = RoomFile(directory(settings.data_dir)).read()
    places = map(str, parse_places(settings.cloud_run_places))
    return {p: max(0, settings.cloud_run_services - used[p]) for p in places if p in used}

"""One image, from the blobs of its layers to what came of the scan. It blocks, for seconds where an image is large: it is for threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cloudstead.engine.errors import EngineError
from cloudstead.services.ecr.scanning import advisories, inventory, layers, matching
from cloudstead.services.ecr.scanning.layers import Limits, Stopped
from cloudstead.services.ecr.scanning.matching import FAILED, Outcome

log = logging.getLogger("cloudstead.ecr")


def examine(blobs: Iterable[Path], security: Path, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """
    Args:
        blobs: the layers, the lowest first.
        security: where imported security data lie.

    Raises:
        Stopped
    """
    try:
        files = layers.collect(_opened(blobs), inventory.SELECTION, Limits(stop=stop))
        found = inventory.take(files)
        data = advisories.find(security, found.system.distribution, found.system.release)
        return matching.match(found, data)
    except Stopped:
        raise
    except EngineError as error:  # damaged or hostile layers, too much in them, damaged security data
        return Outcome(FAILED, f"The image cannot be scanned: {error.message}.")
    except (Exception, MemoryError):  # not to be tried again and again: who asked may ask again
        log.exception("a scan failed")
        return Outcome(FAILED, "The scan failed for a reason that is in Cloudstead's log.")


def _opened(blobs: Iterable[Path]) -> Iterator[int]:
    """A descriptor of each, open until the next is asked for."""
    for path in blobs:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

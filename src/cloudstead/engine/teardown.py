"""`python -m cloudstead.engine.teardown DATA`: end everything that an engine left running, and delete what it kept. For `cloudstead reset`.

It is a process of its own because it needs root and an engine host, and the daemon must not run. Prints a sentence for each thing that was ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cloudstead.engine.errors import EngineError, Failed
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.host.commands import TearDown
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network.commands import SweepNetworks
from cloudstead.engine.pods.commands import SweepContainers
from cloudstead.engine.volumes.commands import SweepVolumes


async def tear_down(data: Path) -> list[str]:
    """What was ended.

    Raises:
        EngineError: something resisted; nothing was deleted.
    """
    host = HostClient(Layout(data))
    await host.start()
    try:
        ended = await host.call(SweepContainers(containers=(), pods=()))
        networks = await host.call(SweepNetworks(slots=(), pods=()))
        ended += networks
        await host.call(SweepVolumes(keep=()))
        if left := await host.call(TearDown()):
            raise Failed(f"still in use, so nothing was deleted: {', '.join(left)}")
        return ended
    finally:
        await host.close()


def main() -> None:
    data = Path(sys.argv[1]).absolute()
    if why_not := Layout(data).why_not_ours:
        sys.exit(why_not)
    try:
        for sentence in asyncio.run(tear_down(data)):
            print(sentence)
    except EngineError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()

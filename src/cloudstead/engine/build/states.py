"""What a stage has come to: an image that could be, after each instruction."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from cloudstead.engine.build import configs
from cloudstead.engine.build.model import Result
from cloudstead.engine.images import digests, manifests
from cloudstead.engine.images.api import ExecConfig, HistoryEntry, Image, ImageConfig, Platform, RootFs


class State(msgspec.Struct, frozen=True, kw_only=True):
    image: str = ""  # its id, whether it was put anywhere or not; empty: nothing yet
    config: ImageConfig
    chains: tuple[str, ...] = ()  # the stack of its layers, the lowest first
    layers: tuple[str, ...] = ()  # those of them that this build added
    base: Image | None = None
    has_cmd: bool = False  # this stage said CMD

    @property
    def parent(self) -> str:
        """The chain that the next layer comes over."""
        return self.chains[-1] if self.chains else ""

    @property
    def env(self) -> dict[str, str]:
        return configs.variables(self.config.config)


def scratch(platform: Platform) -> State:
    config = ImageConfig(
        architecture=platform.architecture, os=platform.os, variant=platform.variant, config=configs.with_path(ExecConfig())
    )
    return State(config=config)


def of_image(image: Image, chains: tuple[str, ...]) -> State:
    config = replace(image.config, config=configs.with_path(image.config.config))
    return State(image=image.id, config=config, chains=chains, base=image)


def after(state: State, *, created: str, created_by: str, config: ExecConfig | None = None, result: Result | None = None) -> State:
    """One instruction later: its line in the history, and its layer if it wrote files."""
    before = state.config
    written = result is not None and bool(result.chain)
    entry = HistoryEntry(created=created, created_by=created_by, author=before.author, empty_layer=not written)
    diff_ids = (*before.rootfs.diff_ids, result.diff_id) if result is not None and written else before.rootfs.diff_ids
    made = replace(
        before,
        created=max(created, before.created),
        config=before.config if config is None else config,
        rootfs=RootFs(diff_ids),
        history=(*before.history, entry),
    )
    chain = (result.chain,) if result is not None and written else ()
    return replace(
        state,
        image=digests.of(manifests.encode_config(made)),
        config=made,
        chains=state.chains + chain,
        layers=state.layers + chain,
    )

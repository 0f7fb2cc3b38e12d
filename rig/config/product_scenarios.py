"""Scenarios and a product together: what each scenario can say about it, and whether the bench is set up for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rig.config.boards import BoardsFile
from rig.errors import ConfigError, Problem
from rig.formats.test_key import SignatureAlgorithm
from rig.model import Board, Expectation, Phase
from rig.practices import REQUIREMENTS, Applies
from rig.product import ChannelSecurity, Encryption, Product
from rig.scenario import FaultShare, ImageBuild, ImageChoice, Images, ImageSource, Scenario

_FIRST_COUNTER = 1
"""Security counter of images that say nothing of their own, where the product has one."""


def bind(scenarios: Sequence[Scenario], product: Product) -> tuple[Scenario, ...]:
    """The scenarios that have something to say about `product`, with their images made as the product's are.

    Of what a scenario proves, only that remains which applies.  What it names first is what it is about: where that does not apply, the
    scenario is left out.  A scenario that proves nothing in particular stays.
    """
    bound = []
    for scenario in scenarios:
        proves = tuple(name for name in scenario.proves if REQUIREMENTS[name].applies(product).applies is Applies.YES)
        needs_way_back = scenario.expect is Expectation.ROLLED_BACK and not product.rolls_back
        if scenario.protocol.value == product.protocol and proves[:1] == scenario.proves[:1] and not needs_way_back:
            images, faults = _images(scenario.images, product), _faults(scenario.faults, product)
            bound.append(replace(scenario, proves=proves, product=product, images=images, faults=faults))
    return tuple(bound)


def _faults(faults: tuple[FaultShare, ...], product: Product) -> tuple[FaultShare, ...]:
    """Without those that wait for a confirmation, where the product installs for good and nobody confirms anything."""
    if product.rolls_back:
        return faults
    return tuple(
        share for share in faults if all(fault.trigger.phase is not Phase.CONFIRM for fault in share.programme)
    )


def _images(images: Images, product: Product) -> Images:
    """What the scenario itself says about keys wins."""
    encrypted = images.encrypted or product.encryption is Encryption.REQUIRED
    own_key = None if product.encryption_key in (None, "test") else product.encryption_key
    return replace(
        images,
        key=images.key or product.signing_key,
        signature=images.signature if images.key else SignatureAlgorithm(product.signature).value,
        encrypted=encrypted,
        encryption_key=images.encryption_key or own_key,
        old=_counted(images.old, product),
        new=_counted(images.new, product),
        again=_counted(images.again, product) if images.again else None,
    )


def _counted(choice: ImageChoice, product: Product) -> ImageChoice:
    """`choice` with a security counter in every image that is built, where the product has one."""
    if not product.security_counter:
        return choice

    def counted(source: ImageSource) -> ImageSource:
        if isinstance(source, ImageBuild) and source.security_counter is None:
            return replace(source, security_counter=_FIRST_COUNTER)
        return source

    every = counted(choice.every) if choice.every is not None else None
    return replace(choice, every=every, by_soc={soc: counted(source) for soc, source in choice.by_soc.items()})


def check_unbound(scenarios: Sequence[Scenario]) -> None:
    """Raise `ConfigError` where a scenario proves something of a product that nobody named."""
    problems = []
    for scenario in scenarios:
        if scenario.proves:
            place = scenario.places["proves"]
            reason = "proves something about a product, but no product is given"
            problems.append(
                Problem(
                    file=scenario.file,
                    line=place.line,
                    column=place.column,
                    key="proves",
                    reason=reason,
                    hint="name its file with --product",
                    excerpt=place.excerpt,
                )
            )
    if problems:
        raise ConfigError(problems)


def check_product(boards: BoardsFile, scenarios: Sequence[Scenario], file: str) -> None:
    """Raise `ConfigError` when nothing could be said about the product, or the bench is not set up for it."""
    if not scenarios:
        raise ConfigError([Problem(file=file, reason="no scenario that was named has anything to say about this product")])
    product = scenarios[0].product
    assert product is not None
    used = [board for board in boards.boards if any(scenario.runs_on(board) for scenario in scenarios)]
    problems = [problem for board in used for problem in _bench(board, product, boards.file)]
    if problems:
        raise ConfigError(problems)


def _bench(board: Board, product: Product, file: str) -> Iterator[Problem]:
    if product.channel is not ChannelSecurity.OPEN and not board.radio.options.get("pair"):
        reason = f"board {board.name!r}: product {product.name!r} wants a paired link, but the radio does not pair"
        yield Problem(file=file, key="radio.pair", reason=reason, hint="radio: {pair: true}, with a passkey where the device shows one")
    if product.crypto == "cc310" and board.soc != "nrf52840":
        reason = f"board {board.name!r}: product {product.name!r} uses the CC310, which an {board.soc} does not have"
        yield Problem(file=file, key="soc", reason=reason, hint="crypto: {backend: software}")
    if board.in_place is not product.in_place:
        words = "updates in place" if product.in_place else "does not update in place"
        yield Problem(file=file, key="in_place", reason=f"board {board.name!r}: product {product.name!r} {words}", hint="make them agree")


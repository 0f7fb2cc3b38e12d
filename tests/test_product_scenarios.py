"""Scenarios and a product: what is left out, what is proved, how images are made, and whether the bench fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rig import config
from rig.config import Configuration
from rig.errors import ConfigError, Problem
from rig.practices import REQUIREMENTS
from rig.scenario import ImageBuild, Scenario
from tests.config_files import BOARDS, SCENARIO, edited, only, place, write
from tests.test_products import SECURE_DFU, SMP

PAIRED = edited(BOARDS, "adapter: hci0}", "adapter: hci0, pair: true, passkey: 123456}")
ONE_SOC = edited(PAIRED, "soc: nrf52832", "soc: nrf52840")
PLAIN_PRODUCT = """\
product: plain
protocol: smp
encryption: {policy: not-needed, reason: It is public.}
channel: {security: open}
signals: {no_image: nothing to start}
protection: {readback: true}
"""
NEW = "{build: {version: 1.1.0, size: 64 KiB}}"


def proving(*requirements: str, name: str = "cuts") -> str:
    return edited(SCENARIO, "scenario: cuts", f"scenario: {name}") + f"proves: [{', '.join(requirements)}]\n"


def loaded(folder: Path, *scenarios: str, product: str = SMP, boards: str = ONE_SOC) -> Configuration:
    files = [write(folder, f"{number}.yaml", text) for number, text in enumerate(scenarios)]
    return config.load(write(folder, "boards.yaml", boards), files, product=write(folder, "product.yaml", product))


def problems(folder: Path, *scenarios: str, product: str = SMP, boards: str = ONE_SOC) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *scenarios, product=product, boards=boards)
    return caught.value.problems


def bound(folder: Path, text: str, product: str = SMP) -> Scenario:
    (scenario,) = loaded(folder, text, product=product).scenarios
    return scenario


def built(scenario: Scenario, image: str = "new") -> ImageBuild:
    source = getattr(scenario.images, image).source("nrf52840")
    assert isinstance(source, ImageBuild)
    return source


def test_scenarios_that_could_prove_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    other = edited(edited(proving("signing.unsigned", name="other-protocol"), "protocol: smp", "protocol: secure_dfu"), ", confirm: true", "")
    nothing = proving("versions.replay", "keys.element", name="nothing-applies")
    way_back = edited(proving("signing.genuine", name="way-back"), "confirm: true", "confirm: false") + "expect: rolled_back\n"
    every = (proving("signing.unsigned"), other, nothing, way_back)

    configuration = loaded(tmp_path, *every)
    overwriting = loaded(tmp_path, *every, product=edited(SMP, "protocol: smp", "protocol: smp\nrolls_back: false"))

    assert [scenario.name for scenario in configuration.scenarios] == ["cuts", "way-back"]
    assert configuration.left_out == ("other-protocol", "nothing-applies")
    assert overwriting.left_out == ("other-protocol", "nothing-applies", "way-back")


def test_of_what_a_scenario_proves_only_that_remains_which_applies(tmp_path: Path) -> None:
    text = proving("versions.lower", "channel.owner", "encryption.air", "versions.replay")

    assert bound(tmp_path, text).proves == ("versions.lower", "channel.owner", "encryption.air")
    assert bound(tmp_path, text, PLAIN_PRODUCT).proves == ("versions.lower",)


def test_a_scenario_that_proves_nothing_in_particular_stays(tmp_path: Path) -> None:
    scenario = bound(tmp_path, SCENARIO)

    assert scenario.proves == ()
    assert scenario.product is not None
    assert scenario.product.name == "lamp"


def test_images_are_made_as_the_products_are(tmp_path: Path) -> None:
    text = edited(proving("signing.genuine"), "update:", "  again: {build: {version: 1.2.0, size: 8 KiB, security_counter: 9}}\nupdate:")
    with_keys = edited(SMP, "protocol: smp", "protocol: smp\nsigning: {algorithm: ed25519, key: sign.pem}").replace("key: test", "key: enc.pem")
    for name in ("sign.pem", "enc.pem"):
        write(tmp_path, name, "a key")

    scenario = bound(tmp_path, text, with_keys)
    plain = bound(tmp_path, text, PLAIN_PRODUCT)

    images = scenario.images
    assert (images.key, images.encryption_key) == (str(tmp_path / "sign.pem"), str(tmp_path / "enc.pem"))
    assert images.encrypted
    assert images.signature == "ed25519"
    assert [built(scenario, image).security_counter for image in ("old", "new", "again")] == [1, 1, 9]
    assert (plain.images.key, plain.images.encryption_key, plain.images.encrypted) == (None, None, False)
    assert [built(plain, image).security_counter for image in ("old", "new", "again")] == [None, None, 9]


def test_the_public_test_key_needs_no_file(tmp_path: Path) -> None:
    images = bound(tmp_path, proving("signing.genuine")).images

    assert images.encrypted
    assert images.encryption_key is None


def test_images_per_soc_are_counted_too(tmp_path: Path) -> None:
    text = edited(proving("signing.genuine"), NEW, f"{{nrf52840: {NEW}}}")

    assert built(bound(tmp_path, text)).security_counter == 1


def test_what_the_scenario_says_of_keys_wins(tmp_path: Path) -> None:
    scenario = bound(tmp_path, proving("signing.genuine"))
    own = replace(scenario, product=None, images=replace(scenario.images, key="own.pem", signature="rsa-2048", encryption_key="own-enc.pem"))
    write(tmp_path, "sign.pem", "a key")
    product = config.load_product(write(tmp_path, "product.yaml", edited(SMP, "protocol: smp", "protocol: smp\nsigning: {key: sign.pem}")))

    (again,) = config.product_scenarios.bind([own], product)

    assert (again.images.key, again.images.signature, again.images.encryption_key) == ("own.pem", "rsa-2048", "own-enc.pem")


def test_proofs_without_a_product_are_refused_at_their_place(tmp_path: Path) -> None:
    text = proving("signing.unsigned")
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, "boards.yaml", BOARDS), [write(tmp_path, "cuts.yaml", text), write(tmp_path, "b.yaml", proving("keys.demo", name="b"))])

    first, second = caught.value.problems
    assert (first.line, first.column) == place(text, "[signing.unsigned]")
    assert (first.key, second.key) == ("proves", "proves")
    assert "no product is given" in first.reason
    assert "--product" in first.hint
    assert first.excerpt


def test_a_product_that_no_scenario_concerns(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, proving("versions.replay")))

    assert problem.file == str(tmp_path / "product.yaml")
    assert "has anything to say about this product" in problem.reason


def test_an_unknown_requirement_gets_the_nearest(tmp_path: Path) -> None:
    text = proving("signing.unsinged")

    problem = only(problems(tmp_path, text))

    assert (problem.line, problem.column) == place(text, "signing.unsinged")
    assert problem.key == "proves[0]"
    assert "'signing.unsigned'" in problem.reason + problem.hint
    assert "signing.unsigned" in REQUIREMENTS


def test_a_secured_channel_needs_a_radio_that_pairs(tmp_path: Path) -> None:
    unpaired = edited(BOARDS, "soc: nrf52832", "soc: nrf52840")

    found = problems(tmp_path, proving("signing.genuine"), boards=unpaired)

    assert [problem.key for problem in found] == ["radio.pair", "radio.pair"]
    assert "'dk1'" in found[0].reason and "'lamp'" in found[0].reason
    assert loaded(tmp_path, proving("signing.genuine"), product=PLAIN_PRODUCT, boards=unpaired).scenarios


def test_the_accelerator_is_only_in_the_nrf52840(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, proving("signing.genuine"), boards=PAIRED))

    assert problem.key == "soc"
    assert "CC310" in problem.reason and "nrf52832" in problem.reason and "'dk2'" in problem.reason


def test_boards_that_take_no_part_need_not_fit(tmp_path: Path) -> None:
    text = edited(proving("signing.genuine"), "boards: all", "boards: [dk1]")

    assert loaded(tmp_path, text, boards=PAIRED).scenarios


def test_updating_in_place_is_said_by_product_and_boards(tmp_path: Path) -> None:
    boards = edited(edited(BOARDS, "protocol: smp", "protocol: secure_dfu"), "swap-offset", "secure-dfu")
    text = edited(edited(edited(proving("signing.genuine"), "protocol: smp", "protocol: secure_dfu"), "update: {request: test, confirm: true}\n", ""), "install", "upload")
    in_place = edited(SECURE_DFU, "protocol: secure_dfu", "protocol: secure_dfu\nin_place: true")

    found = problems(tmp_path, text, product=in_place, boards=boards)

    assert {problem.key for problem in found} == {"in_place"}
    assert "updates in place" in found[0].reason
    assert loaded(tmp_path, text, product=SECURE_DFU, boards=boards).scenarios


def test_only_production_units_are_inspected(tmp_path: Path) -> None:
    """A unit as it is delivered is never given to a scenario that would write to it."""
    boards = edited(ONE_SOC, "  - name: dk2\n", "  - name: dk2\n    production: true\n")
    look = edited(proving("keys.readback", name="look"), "  - power_cut: {trigger: {phase: install}, offset_ms: {uniform: [0, 5000]}, off_ms: 500}\n", "") + "inspect: true\n"

    update, inspection = loaded(tmp_path, proving("signing.genuine"), look, boards=boards).scenarios

    taking_part = {name: [board.name for board in config.load_boards(tmp_path / "boards.yaml").boards if one.runs_on(board)]
                   for name, one in (("update", update), ("inspection", inspection))}  # fmt: skip
    assert taking_part == {"update": ["dk1"], "inspection": ["dk2"]}


def test_a_list_of_kinds_makes_a_scenario_of_each(tmp_path: Path) -> None:
    text = edited(proving("signing.unsigned"), NEW, NEW[:-1] + ", spoil: [unsigned, hash-only]}") + "expect: refused\n"

    scenarios = loaded(tmp_path, text).scenarios

    assert [scenario.name for scenario in scenarios] == ["cuts-unsigned", "cuts-hash-only"]
    assert [built(scenario).spoil for scenario in scenarios] == ["unsigned", "hash-only"]
    assert {scenario.trials for scenario in scenarios} == {20}

"""Product files: what is read, and that a file which contradicts itself is refused with the place and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import config
from rig.errors import ConfigError, Problem
from rig.product import Budgets, ChannelSecurity, Encryption, LockedRegion, Policy, Product
from tests.config_files import PRODUCTS, Mistake, edited, only, place, write

SMP = """\
product: lamp
description: A lamp.
protocol: smp
encryption: {policy: required, key: test}
channel: {security: authenticated}
versions: {lower: refused, equal: refused, security_counter: true, dependencies: true}
budgets: {update_s: 60, downtime_s: 8, boot_s: 1.5, erases_per_page: 4}
signals:
  service: 00000001-0000-1000-8000-00805f9b34fb
  status: 00000002-0000-1000-8000-00805f9b34fb
  announced: ^01
  control: 00000003-0000-1000-8000-00805f9b34fb
  log: 00000004-0000-1000-8000-00805f9b34fb
  heartbeat: 00000005-0000-1000-8000-00805f9b34fb
  no_image: Unable to find bootable image
asks_consent: true
defers_when_busy: true
crypto: {backend: cc310, verification_ms: 60, start: verifying, end: verified}
protection:
  readback: true
  locked: [{name: MCUboot, start: 0x0, size: 0xB000}]
"""

SECURE_DFU = """\
product: lock
protocol: secure_dfu
rolls_back: false
encryption: {policy: none}
channel: {security: open}
versions: {equal: accepted}
protection: {readback: false}
accepted_risks:
  encryption: The firmware is public.
  channel: Whoever stands in front of the door may update it.
  versions: Rebuilds of a version are ours.
  recovery: Every release is tried with power cuts.
  keys: It is a development kit.
"""


def product(folder: Path, text: str) -> Product:
    return config.load_product(write(folder, "product.yaml", text))


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    path = write(folder, "product.yaml", text)
    with pytest.raises(ConfigError) as caught:
        config.load_product(path)
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return caught.value.problems


def test_a_product_is_read_as_it_is_written(tmp_path: Path) -> None:
    read = product(tmp_path, SMP)

    assert (read.name, read.protocol, read.rolls_back, read.updatable_when_empty) == ("lamp", "smp", True, True)
    assert (read.encryption, read.encryption_key, read.channel) == (Encryption.REQUIRED, "test", ChannelSecurity.AUTHENTICATED)
    assert (read.lower_versions, read.equal_versions, read.debug_packets) == (Policy.REFUSED, Policy.REFUSED, Policy.REFUSED)
    assert read.security_counter and read.dependencies and read.asks_consent and read.defers_when_busy and read.readback_locked
    assert read.budgets == Budgets(update_s=60, downtime_s=8, boot_s=1.5, verification_s=0.06, erases_per_page=4)
    assert (read.crypto, read.signals.verification_start, read.signals.verification_end) == ("cc310", "verifying", "verified")
    assert (read.signals.consent, read.signals.no_image) == ("01", "Unable to find bootable image")
    assert [uuid[7] for uuid in read.signals.characteristics] == ["2", "3", "4", "5"]
    assert read.locked == (LockedRegion(name="MCUboot", start=0, size=0xB000),)
    assert read.accepted_risks == {}


def test_declared_weaknesses_are_read_with_their_texts(tmp_path: Path) -> None:
    read = product(tmp_path, SECURE_DFU)

    assert (read.encryption, read.channel, read.equal_versions) == (Encryption.NONE, ChannelSecurity.OPEN, Policy.ACCEPTED)
    assert not read.rolls_back and not read.readback_locked
    assert read.crypto is None, "software, which needs no limit"
    assert sorted(read.accepted_risks) == ["channel", "encryption", "keys", "recovery", "versions"]
    assert read.accepted_risks["channel"].startswith("Whoever")


def test_key_files_are_found_beside_the_product(tmp_path: Path) -> None:
    write(tmp_path, "enc.pem", "a key")
    write(tmp_path, "sign.pem", "a key")
    text = edited(SMP, "key: test", "key: enc.pem") + "signing: {key: sign.pem}\n"

    read = product(tmp_path, text)

    assert read.encryption_key == str(tmp_path / "enc.pem")
    assert read.signing_key == str(tmp_path / "sign.pem")


@pytest.mark.parametrize("path", sorted(PRODUCTS.glob("*/product.yaml")), ids=lambda path: path.parent.name)
def test_shipped_products_are_right(path: Path) -> None:
    assert config.load_product(path).name == path.parent.name


NO_IMAGE = "  no_image: Unable to find bootable image\n"
SMP_MISTAKES = [
    Mistake("{policy: required, key: test}", "{policy: required}", "required}", "encryption.policy", "no key to encrypt to", "encryption.key"),
    Mistake("{policy: required, key: test}", "{policy: not-needed}", "not-needed", "encryption.policy", "wants a reason", "encryption.reason"),
    Mistake("{policy: required, key: test}", "{policy: none, key: test}", "test}", "encryption.key", "a key, although the policy is none", "required"),
    Mistake("key: test", "key: gone.pem", "gone.pem", "encryption.key", "no such file: gone.pem", "relative to the product file"),
    Mistake("protocol: smp", "protocol: smp\nsigning: {key: gone.pem}", "gone.pem", "signing.key", "no such file: gone.pem", "relative to the product file"),
    Mistake("protocol: smp", "protocol: smp\nin_place: true", "true\nenc", "in_place", "never updates in place", "in_place: false"),
    Mistake("dependencies: true", "debug_packets: accepted", "accepted}", "versions.debug_packets", "only with secure_dfu", "leave it out"),
    Mistake(NO_IMAGE, "updatable_when_empty: true\n", "true\nasks", "updatable_when_empty", "only its console shows", "signals.no_image"),
    Mistake("  heartbeat: 00000005-0000-1000-8000-00805f9b34fb\n", "", "8, boot_s", "budgets.downtime_s", "no heartbeat", "signals.heartbeat"),
    Mistake("  announced: ^01\n", "", "00000002", "signals.status", "nobody knows what its values mean", "signals.announced"),
    Mistake("  control: 00000003-0000-1000-8000-00805f9b34fb\n", "", "true\ndefers", "asks_consent", "no characteristic to answer", "signals.control"),
    Mistake(", start: verifying", "", "60, end", "crypto.verification_ms", "between two console lines", "crypto.start"),
    Mistake(", end: verified", "", "60, start: v", "crypto.verification_ms", "between two console lines", "crypto.end"),
    Mistake("asks_consent: true", "ask_consent: true", "ask_consent", "ask_consent", "unknown key", "asks_consent"),
    Mistake("policy: required", "policy: require", "require,", "encryption.policy", "'require'", "required"),
    Mistake("backend: cc310", "backend: cc312", "cc312", "crypto.backend", "'cc312'", "cc310"),
    Mistake("boot_s: 1.5", "boot_s: 0", "0, erases", "budgets.boot_s", "0"),
    Mistake("announced: ^01", "announced: (01", "(01", "signals.announced", "regular expression"),
    Mistake("0x0, size: 0xB000", "0x0, size: 0xB001", "0xB001", "protection.locked[0].size", "4096"),
    Mistake("channel: {security: authenticated}\n", "", "product", "channel", "missing"),
    Mistake("defers_when_busy: true", "accepted_risks: {versions: We sell it so.}", "We sell", "accepted_risks.versions", "does not declare", "leave it out"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", SMP_MISTAKES, ids=str)
def test_a_mistake_is_found_at_its_place(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(SMP, mistake.old, mistake.new)

    mistake.check(only(problems(tmp_path, text)), text)


def test_an_smp_product_that_is_updatable_when_empty_by_default_wants_the_console_line_too(tmp_path: Path) -> None:
    text = edited(SMP, NO_IMAGE, "")

    assert only(problems(tmp_path, text)).key == "updatable_when_empty"
    assert product(tmp_path, text + "updatable_when_empty: false\n").signals.no_image is None


def test_a_secure_dfu_bootloader_shows_without_its_console_that_it_waits_for_an_update(tmp_path: Path) -> None:
    read = product(tmp_path, SECURE_DFU)

    assert (read.updatable_when_empty, read.signals.no_image) == (True, None)


def test_characteristics_need_their_service(tmp_path: Path) -> None:
    text = edited(SMP, "  service: 00000001-0000-1000-8000-00805f9b34fb\n", "")

    found = problems(tmp_path, text)

    assert [(problem.key, problem.line) for problem in found] == [
        ("signals.status", 9), ("signals.control", 11), ("signals.log", 12), ("signals.heartbeat", 13)
    ]  # fmt: skip
    assert all(problem.reason == "a characteristic without its service" for problem in found)


DFU_MISTAKES = [
    Mistake("rolls_back: false", "rolls_back: true", "true", "rolls_back", "installs for good", "rolls_back: false"),
    Mistake("{policy: none}", "{policy: required, key: test}", "required", "encryption.policy", "cannot decrypt", "none"),
    Mistake("{equal: accepted}", "{equal: accepted, security_counter: true}", "{equal", "versions", "only with MCUboot"),
    Mistake("{equal: accepted}", "{equal: accepted, dependencies: true}", "{equal", "versions", "only with MCUboot"),
    Mistake("rolls_back: false", "rolls_back: false\nsigning: {algorithm: ed25519}", "ed25519", "signing.algorithm", "ECDSA-P256 only", "ecdsa-p256"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", DFU_MISTAKES, ids=str)
def test_what_a_secure_dfu_bootloader_cannot_do(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(SECURE_DFU, mistake.old, mistake.new)

    found = problems(tmp_path, text)

    mistake.check(next(problem for problem in found if mistake.reason in problem.reason), text)


def test_rolling_back_is_the_default_and_refused_where_it_cannot_be(tmp_path: Path) -> None:
    found = problems(tmp_path, edited(SECURE_DFU, "rolls_back: false\n", ""))

    assert "installs for good" in "".join(problem.reason for problem in found if problem.key == "rolls_back")


@pytest.mark.parametrize(
    ("risk", "old", "new"),
    [
        ("encryption", "{policy: none}", "{policy: not-needed, reason: It is public.}"),
        ("channel", "{security: open}", "{security: encrypted}"),
        ("versions", "{equal: accepted}", "{equal: refused}"),
        ("keys", "{readback: false}", "{readback: true}"),
    ],
)
def test_only_a_declared_weakness_can_be_accepted(tmp_path: Path, risk: str, old: str, new: str) -> None:
    text = edited(SECURE_DFU, old, new)

    problem = only(problems(tmp_path, text))

    assert problem.key == f"accepted_risks.{risk}"
    assert problem.line == place(text, f"  {risk}: ")[0]
    assert "does not declare" in problem.reason


def test_debug_packets_and_an_empty_unit_are_weaknesses_too(tmp_path: Path) -> None:
    text = edited(SECURE_DFU, "accepted_risks:\n", "accepted_risks:\n  signing: It is a development kit.\n")
    assert only(problems(tmp_path, text)).key == "accepted_risks.signing"

    declared = edited(text, "{equal: accepted}", "{equal: accepted, debug_packets: accepted}")
    assert product(tmp_path, declared).debug_packets is Policy.ACCEPTED
    empty = edited(SMP, "asks_consent: true", "updatable_when_empty: false\naccepted_risks: {recovery: It is thrown away.}\nasks_consent: true")
    assert product(tmp_path, empty).updatable_when_empty is False


def test_all_contradictions_come_at_once_and_in_order(tmp_path: Path) -> None:
    text = edited(edited(SMP, ", key: test", ""), "  heartbeat: 00000005-0000-1000-8000-00805f9b34fb\n", "")
    text = edited(text, "crypto: {backend: cc310, verification_ms: 60, start: verifying, end: verified}", "crypto: {backend: cc310, verification_ms: 60}")

    assert [problem.key for problem in problems(tmp_path, text)] == ["encryption.policy", "budgets.downtime_s", "crypto.verification_ms"]


def test_a_file_that_is_no_product(tmp_path: Path) -> None:
    for text in ("", "- 1\n", "product: [", "product: 7\n"):
        assert problems(tmp_path, text)
    with pytest.raises(ConfigError, match="no such file"):
        config.load_product(tmp_path / "nowhere.yaml")


def test_the_message_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/configuration.md shows a contradiction as a user sees it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "product.yaml", edited(SMP, "{policy: required, key: test}", "{policy: required}"))
    with pytest.raises(ConfigError) as caught:
        config.load_product("product.yaml")

    shown = "\n".join(f"    {line}" for line in str(caught.value).splitlines())
    assert shown in (PRODUCTS.parent / "docs" / "configuration.md").read_text(encoding="utf-8")

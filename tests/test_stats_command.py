"""`rig stats need`, and the pace of a stored campaign that it rests on."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.cli import rig
from rig.errors import ConfigError, StorageError
from rig.model import Outcome, Verdict
from rig.report.statistics.pace import pace_of
from rig.store import Campaign
from tests import synthetic
from tests.synthetic import Ending

BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")


def need(*arguments: object) -> Result:
    return CliRunner().invoke(rig, ["stats", "need", *map(str, arguments)])


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Thirteen trials on four boards: one broken by the rig, one not run."""
    return synthetic.campaign(tmp_path_factory.mktemp("pace"), trials=13, endings={2: BROKEN}, skip=[5])


def test_a_claim_says_its_trials_and_what_a_failure_costs() -> None:
    result = need("--p", 0.001, "--confidence", 0.95)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "2,995 conclusive trials without a failure show a failure probability below 0.1 % with 95 % confidence.",
        "One failure raises that to 4,742.",
        "How long that takes follows from a campaign of this bench (name its folder) or from --rate.",
    ]


def test_failures_that_are_allowed_cost_trials() -> None:
    first, second, third = need("--p", 0.001, "--failures", 1, "--rate", 820).output.splitlines()
    assert first.startswith("4,742 conclusive trials with at most 1 failure show ")
    assert second == "One more failure raises that to 6,294."
    assert third == "At 820 an hour that takes 5 h 47 min."


def test_confidence_and_small_numbers_are_taken_at_their_word() -> None:
    assert need("--p", 0.00001, "--confidence", 0.9).output.startswith(
        "230,258 conclusive trials without a failure show a failure probability below 0.001 % with 90 % confidence."
    )
    assert need("--p", 0.96).output.startswith("1 conclusive trial without a failure shows ")


def test_the_pace_is_that_of_the_busiest_board_without_what_the_rig_lost(campaign: Campaign) -> None:
    busy: dict[str, float] = {}
    for record in campaign.records():
        if record.evidence:
            busy[record.trial.board] = busy.get(record.trial.board, 0.0) + record.evidence.duration_ns / 1e9
    pace = pace_of(campaign.records())
    assert (pace.conclusive, pace.boards, pace.lacking) == (11, 4, "")
    assert pace.seconds == pytest.approx(max(busy.values()))
    assert pace.seconds < sum(busy.values()) / 2
    assert pace.per_hour == pytest.approx(11 * 3600 / max(busy.values()))


def test_a_campaign_gives_the_hours(campaign: Campaign) -> None:
    result = need("--p", 0.01, campaign.path)
    pace = pace_of(campaign.records()).per_hour
    assert pace is not None
    line = result.output.splitlines()[2]
    assert line.startswith(f"At {pace:,.4g} an hour (c-20261121-a: 11 trials on 4 boards in ")
    assert ", simulated) that takes " in line
    minutes = round(299 / pace * 60)
    assert line.endswith(f" {minutes // 60} h {minutes % 60:02d} min." if minutes >= 60 else " s.")


def test_a_campaign_without_a_judged_trial_has_no_pace(tmp_path: Path) -> None:
    empty = synthetic.campaign(tmp_path, trials=3, skip=range(3))
    assert pace_of(empty.records()).per_hour is None
    error = need("--p", 0.01, empty.path).exception
    assert isinstance(error, ConfigError)
    assert str(error) == f"{empty.path}: no conclusive trial with a known duration; name another campaign, or give --rate"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Missing option '--p'"),
        (("--p", "0"), "'--p': 0.0 is not in the range"),
        (("--p", "1"), "'--p': 1.0 is not in the range"),
        (("--p", "nan"), "'--p': nan is not a number to reckon with"),
        (("--p", "one"), "'--p': 'one' is not a valid float"),
        (("--p", "0.1", "--confidence", "95"), "'--confidence': 95.0 is not in the range 0.0<x<1.0"),
        (("--p", "0.1", "--confidence", "nan"), "'--confidence': nan is not a number"),
        (("--p", "0.1", "--failures", "-1"), "'--failures': -1 is not in the range"),
        (("--p", "0.1", "--rate", "0"), "'--rate': 0.0 is not in the range x>0.0"),
        (("--p", "0.1", "--rate", "inf"), "'--rate': inf is not a number"),
        (("--p", "0.1", "--rate", "5", "reports/night"), "either DIR or --rate"),
    ],
)
def test_bad_input_is_named(arguments: tuple[str, ...], complaint: str) -> None:
    result = need(*arguments)
    assert result.exit_code == 2, "click's own code; the entry point turns it into 3"
    assert complaint in result.output


def test_a_folder_that_is_no_campaign_is_refused(tmp_path: Path) -> None:
    assert isinstance(need("--p", 0.1, tmp_path).exception, StorageError)

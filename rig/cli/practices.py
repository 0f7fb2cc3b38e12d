"""Commands about the eleven practices: practices."""

from __future__ import annotations

from pathlib import Path

import click

from rig import config
from rig.errors import ConfigError
from rig.practices import REQUIREMENTS, STANDARDS, Applies, Practice, Requirement
from rig.product import Product
from rig.scenario import Scenario

_COLUMN = 22


@click.command(short_help="List the eleven practices and what proves them.")
@click.argument("practice", required=False, metavar="[PRACTICE]")
@click.option("--product", metavar="FILE", help="Show what applies to this product.")
@click.option("--scenarios", "suite", default="practices", show_default=True, metavar="NAME", help="Where to look for scenarios.")
def practices(practice: str | None, product: str | None, suite: str) -> None:
    """List each practice with its requirements, the clauses of standards that it touches, and the scenarios that prove it.

    The clauses are those to which a practice is relevant; nothing here claims conformity.

    \b
    Example:  rig practices
              rig practices signing --product products/sample-smp/product.yaml
    """
    chosen = _chosen(practice)
    described = config.load_product(product) if product else None
    scenarios = config.load_scenarios([suite])
    if described is not None:
        scenarios = config.bind(scenarios, described)
    for one in chosen:
        _show(one, described, scenarios)


def _chosen(name: str | None) -> list[Practice]:
    known = {practice.slug: practice for practice in Practice}
    if name is None:
        return list(Practice)
    if name.isdigit() and int(name) in list(Practice):
        return [Practice(int(name))]
    if name not in known:
        raise ConfigError(f"there is no practice {name!r}; known: {', '.join(f'{p.value} {slug}' for slug, p in known.items())}")
    return [known[name]]


def _show(practice: Practice, product: Product | None, scenarios: tuple[Scenario, ...]) -> None:
    standard = STANDARDS[practice]
    click.echo(click.style(f"{practice.value:2} {practice.slug}", bold=True))
    clauses = {
        "ETSI EN 303 645": standard.etsi,
        "NISTIR 8259A": standard.nistir,
        "NIST SP 800-193": standard.nist,
        "EU CRA Annex I": standard.cra,
        "RFC 9124": standard.rfc,
    }
    click.echo("   touches  " + "; ".join(f"{name} {text}" for name, text in clauses.items() if text))
    for requirement in REQUIREMENTS.values():
        if requirement.practice is practice:
            _show_requirement(requirement, product, scenarios)
    click.echo()


def _show_requirement(requirement: Requirement, product: Product | None, scenarios: tuple[Scenario, ...]) -> None:
    click.echo(f"   {requirement.id:{_COLUMN}} {requirement.text}")
    indent = " " * (_COLUMN + 4)
    if product is not None and (found := requirement.applies(product)).applies is not Applies.YES:
        click.echo(f"{indent}{found.applies}: {found.reason}")
        return
    asked = [one for one in scenarios if requirement.id in one.proves and product in (None, one.product)]
    proving = dict.fromkeys(Path(scenario.file).stem for scenario in asked)  # a file makes a scenario for each way of spoiling
    click.echo(f"{indent}proved by {', '.join(proving)}" if proving else f"{indent}no scenario proves it")


COMMANDS = (practices,)

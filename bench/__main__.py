"""`make bench`: measures, and writes what docs/performance.md quotes. Or python -m bench warm."""

from __future__ import annotations

import json
from importlib import import_module

import click

from bench import page, service


@click.command()
@click.argument("subjects", nargs=-1, type=click.Choice(page.SUBJECTS))
@click.option("--quick", is_flag=True, help="A few rounds, to see that it works; nothing is kept.")
def main(subjects: tuple[str, ...], quick: bool) -> None:
    """Measure these SUBJECTS, all by default, and print their tables."""
    with service.service() as environment:
        for subject in subjects or page.SUBJECTS:
            click.echo(f"{subject} ...", err=True)
            measured = import_module(f"bench.{subject}").measure(environment, quick=quick)
            found = {"command": f"make bench ONLY={subject}", **service.about(), **measured}
            click.echo(page.table(subject, found))
            if not quick:
                path = page.RESULTS / f"{subject}.json"
                path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not quick:
        page.write()


if __name__ == "__main__":
    main()

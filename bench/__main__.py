"""`make bench`: measures, and writes what docs/performance.md quotes. Or python -m bench warm."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import click

from bench import page, service


@click.command()
@click.argument("subjects", nargs=-1, type=click.Choice(page.SUBJECTS))
@click.option("--quick", is_flag=True, help="A few rounds, to see that it works; nothing is kept.")
@click.option("--into", type=click.Path(path_type=Path), help="A folder for the results instead.")
def main(subjects: tuple[str, ...], quick: bool, into: Path | None) -> None:
    """Measure these SUBJECTS, all by default, and print their tables."""
    folder = into or (None if quick else page.RESULTS)
    with service.service() as environment:
        for subject in subjects or page.SUBJECTS:
            click.echo(f"{subject} ...", err=True)
            measured = import_module(f"bench.{subject}").measure(environment, quick=quick)
            found = {"command": f"make bench ONLY={subject}", **service.about(), **measured}
            click.echo(page.table(subject, found))
            if folder is not None:
                path = folder / f"{subject}.json"
                path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if folder == page.RESULTS:
        page.write()


if __name__ == "__main__":
    main()

"""`del-audit frontier`: every mechanism at every epsilon, measured in two stages, and written as one picture."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.named import checked_epsilons, parse_all
from del_audit.configuration.policy import LARGEST_DELTA
from del_audit.evidence.readiness import require_encoder, require_ready, require_texts
from del_audit.frontier.bench import FIRST, FrontierBench, FrontierWork
from del_audit.frontier.choose import choose, require_named
from del_audit.frontier.document import document_of, write_table
from del_audit.frontier.dominance import dominating, first_relations, second_relations
from del_audit.frontier.measured import Row
from del_audit.frontier.page import page
from del_audit.frontier.picture import STAGES, picture, standalone
from del_audit.frontier.points import points_of
from del_audit.frontier.public_choices import require_known, require_public_text
from del_audit.frontier.result_tables import first_columns, print_tables, second_columns
from del_audit.process.quiet import silence_libraries
from del_audit.runs import Run
from del_audit.service.assets import Assets, load_assets
from del_audit.service.clusters import require_symbols
from del_audit.service.provenance import commit, versions
from del_audit.show.console import table_width
from del_audit.workers.filling import Filling, Workers, filling
from del_audit.workers.work import Work
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file
from mechanisms.models import words_in
from mechanisms.private_folders import MARKER
from mechanisms.registry import DecoderName
from mechanisms.validation import at_least

RESULT, TABLE, PAGE, PICTURE = "frontier.json", "frontier.parquet", "frontier.html", "frontier.svg"


def frontier(
    config: ConfigurationFile,
    out: Path,
    *,
    mechanisms: Sequence[str],
    epsilons: Sequence[float],
    delta: float | None = None,
    points: int = 12,
    full: Sequence[str] = (),
    decoders: Sequence[str] = (),
    train_steps: int = 0,
    quick: bool = False,
    workers: Workers | None = None,
) -> int:
    """Measures the points, writes out/frontier.json, .parquet, .html and .svg, prints the tables and returns 0.

    The arguments are the command's options; delta: the policy's where it is None. A run that was cut off goes on in
    OUT.partial. Raises UserError for what a user can mend.
    """
    base = load_configuration(config)
    named, asked, delta = parse_all(mechanisms), checked_epsilons(epsilons), _delta(base, delta)
    at_least("points", points, 1)
    at_least("train-steps", train_steps, 0)
    choices = require_known(decoders)
    for name, given in (("--full", full), ("--decoders", choices), ("--train-steps", train_steps)):
        if quick and given:
            raise UserError(f"Expected {name} or --quick, got both: a quick run has no second stage.")
    rows = [Row(point, why=point.why) for point in points_of(base, named, asked, delta)]
    _require_measurable(rows, choices)
    require_named(rows, points, full)
    require_symbols(words_in(base.model), named)
    silence_libraries()
    assets = load_assets(base)
    _require_ready(base, assets, quick)
    if choices or train_steps:
        require_public_text(base, assets, choices, train_steps)
    about: dict[str, Json] = {
        "delta": delta,
        "stage": "quick" if quick else "full",
        "asked": {
            "mechanisms": [each.name for each in named],
            "epsilons": list[Json](asked),
            "points": points,
            "full": list[Json](full),
            "decoders": list[Json](choices),
            "train_steps": train_steps,
        },
        "seed": assets.seed,
        "model": assets.language.record.sha256,
        "corpus": assets.corpus.record.sha256,
        "versions": dict[str, Json](versions(assets.language.model)),
        "commit": commit(),
    }
    run = Run(out, {**about, "configuration": base.model_dump(mode="json")})
    console = Console(markup=False, highlight=False, width=table_width())
    bench = FrontierBench(
        base, assets, delta, run, choices, train_steps, lambda said: console.print(f"measuring {said}", style="dim")
    )
    work = Work("del_audit.frontier.bench:bench_in", FrontierWork(base, delta, choices, train_steps, assets.seed))
    with filling(workers or Workers(), work, run) as others:
        _measure_first(rows, bench, others)
        if not quick:
            _measure_second(choose(rows, points, full), bench, others)
    _finish(base, rows, about, assets.seed, run, console)
    console.print(f"Written: {', '.join(str(path) for path in sorted(out.iterdir()) if path.name != MARKER)}")
    return 0


def _require_measurable(rows: Sequence[Row], decoders: Sequence[DecoderName]) -> None:
    """Raises UserError where no point can be measured, and for a decoder that the configuration does not take."""
    measured = [row.point for row in rows if row.point.configuration is not None]
    if not measured:
        raise UserError(f"Expected a point that can be measured, got none. {rows[0].point.name} is {rows[0].why}.")
    for point in measured:
        for decoder in filter(point.takes, decoders):
            point.decoded_by(decoder)


def _measure_first(rows: Sequence[Row], bench: FrontierBench, others: Filling) -> None:
    """Gives every row that can be measured its first stage; others: who shares the work."""
    measured = [row for row in rows if row.point.configuration is not None]
    others.fill(bench.missing([FIRST], [row.point for row in measured]), "point")
    for row in measured:
        row.first = bench.first(row.point)


def _measure_second(chosen: Sequence[Row], bench: FrontierBench, others: Filling) -> None:
    """Gives the chosen rows their second stage; others: who shares the work."""
    others.fill(bench.missing(bench.second_kinds, [row.point for row in chosen]), "measurement")
    for row in chosen:
        row.second = bench.second(row.point)


def _finish(
    base: Configuration, unsorted: list[Row], about: dict[str, Json], seed: int, run: Run, console: Console
) -> None:
    """Writes the results, and prints the tables: by epsilon, then in the order of the mechanisms."""
    rows = sorted(unsorted, key=lambda row: row.point.epsilon)
    first, second = first_relations(rows), second_relations(rows, seed)
    document = document_of(base, rows, first, second, about)
    by_first, by_second = (
        {row.point.name: dominating(row.point.name, each) for row in rows} for each in (first, second)
    )
    tables = [first_columns(rows, by_first, base.policy.prompt_tokens)]
    if any(row.second for row in rows):
        tables.insert(0, second_columns(rows, by_second, base.attribute.column if base.attribute else None))
    order = list(dict.fromkeys(row.point.named for row in unsorted))
    plots = [plot for plot in (picture(rows, stage, order) for stage in STAGES) if plot is not None]
    write_table(run.folder / TABLE, document)
    write_file(run.folder / PAGE, page(document, plots, tables).encode(), mode=PRIVATE)
    if plots:
        write_file(run.folder / PICTURE, standalone(plots[0]).encode(), mode=PRIVATE)
    run.finish(document, RESULT)
    print_tables(tables[::-1], document, console)


def _delta(base: Configuration, delta: float | None) -> float:
    found = base.policy.quoted_delta if delta is None else delta
    if not 0 < found <= LARGEST_DELTA:
        raise UserError(f"Expected --delta in (0, {LARGEST_DELTA:g}], got {found:g}.")
    return found


def _require_ready(base: Configuration, assets: Assets, quick: bool) -> None:
    """Raises UserError for what a measurement would lack after minutes."""
    if not quick:
        require_ready(base, assets)
        return
    require_texts(assets)
    if isinstance(base.mechanism, DelMechanism):
        require_encoder(base, assets)

"""`del-audit reproduce`: sets a table's run up, runs its cells, and writes and prints the result."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from del_audit.process.quiet import silence_libraries
from del_audit.reproduce.bench import Bench, cut_samples, first_documents, part_attacked
from del_audit.reproduce.cells import Cell, grid, is_kept, run_cell
from del_audit.reproduce.pairs import labelled_part
from del_audit.reproduce.paper_table import differences, print_table
from del_audit.reproduce.protocol import (
    CLIP,
    DELTA,
    EPSILONS,
    LENGTHS,
    OTHER_MU,
    PAPER,
    QUICK,
    TABLES,
    MatchKind,
    Protocol,
    Sizes,
)
from del_audit.runs import Run
from del_audit.service.provenance import commit, versions
from del_audit.workers.filling import Workers, filling
from del_audit.workers.work import Part, Work
from mechanisms.canonical_json import Json
from mechanisms.corpora import load_corpus
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm, load_sentence_encoder
from mechanisms.splits import split_corpus
from mechanisms.tokens import tokenized

RESULT = "table.json"
SHARED = {"command": "reproduce"}
"""All that the cells of one folder share: each one has its own settings."""


def reproduce(
    table: int, sizes: Mapping[str, int], *, out: Path, workers: Workers | None = None, **request: Any
) -> int:
    """Runs a table, writes out/table.json with every figure, prints it, and returns 0.

    sizes: fields of Sizes that differ from the paper's, or from --quick's. workers: who shares the cells. request: the
    command's other options. Until all cells are done the folder is OUT.partial; the same command goes on in it.
    Raises UserError for options that do not fit the table or each other, and as the parts do.
    """
    protocol = TABLES[table]
    match: MatchKind = request["match"] or protocol.match
    targets = _targets(protocol, match, request["targets"])
    plan = replace((QUICK if request["quick"] else PAPER)[protocol.task], **sizes)
    if protocol.task == "generation" and request["lengths"] == "ptb" and not request["quick"]:
        plan = replace(plan, **{"new_tokens": 50, **sizes})
    if protocol.general and request["general_corpus"] is None:
        raise UserError(f"Expected --general-corpus for table {table}: its soft prompt is of another corpus.")
    silence_libraries()
    run = Run(out, SHARED)
    asked = TableWork(protocol, plan, request, match, targets)
    bench = _bench(protocol, plan, request, run)
    cells = asked.cells(bench)
    with filling(workers or Workers(), Work("del_audit.reproduce.reproduce:bench_in", asked), run) as others:
        missing = [(number, cell) for number, cell in enumerate(cells) if not is_kept(bench, cell)]
        others.fill([Part(cell.label, number) for number, cell in missing], "cell")
    results = []
    with tqdm(total=len(cells), desc=f"table {table}", unit="cell") as bar:
        for cell in cells:
            bar.set_postfix_str(cell.label)
            results.append(run_cell(bench, cell))
            bar.update()
    document = _document(bench, match, request, cells, results)
    written = run.finish(document, RESULT)
    print_table(document)
    print(f"Written: {written}")
    return 0


@dataclass(frozen=True, slots=True)
class TableWork:
    """What a worker's cells are made of: the arguments of the command, checked."""

    protocol: Protocol
    sizes: Sizes
    request: Mapping[str, Any]
    match: MatchKind
    targets: tuple[float, ...]

    def cells(self, bench: Bench) -> list[Cell]:
        """Returns the cells of the table, in their order."""
        bits, dims = self.request["bits"] or self.protocol.bits, self.request["dim"] or self.protocol.dims
        return list(grid(bench, self.match, self.targets, bits, dims))


@dataclass(frozen=True, slots=True)
class CellBench:
    """A worker's bench: it makes cells by their number."""

    bench: Bench
    cells: Sequence[Cell]

    @property
    def run(self) -> Run:
        """The worker's own run."""
        return self.bench.run

    def make(self, asked: object) -> None:
        """Makes the cell of that number."""
        assert isinstance(asked, int)
        run_cell(self.bench, self.cells[asked])


def bench_in(folder: Path, about: TableWork) -> CellBench:
    """Returns a worker's bench, which keeps what it makes in a folder of its own; loads the models and the text."""
    bench = _bench(about.protocol, about.sizes, about.request, Run(folder / "run", SHARED))
    return CellBench(bench, about.cells(bench))


def _targets(protocol: Protocol, match: MatchKind, asked: Sequence[float] | None) -> tuple[float, ...]:
    """Returns what rows are matched at; raises UserError for values that the match does not allow."""
    protocol.rows_for(match)
    if asked is None and match not in (protocol.match, "epsilon"):
        raise UserError(f"Expected --targets with --match {match} for table {protocol.number}, got none.")
    targets = tuple(asked or (EPSILONS if match == "epsilon" and protocol.match != "epsilon" else protocol.targets))
    wrong = [value for value in targets if not 0 < value < (1 if match == "asr" else float("inf"))]
    if wrong or len(set(targets)) != len(targets):
        allowed = "different values in (0, 1)" if match == "asr" else "different values > 0"
        raise UserError(f"Expected --targets to be {allowed} for --match {match}, got {list(targets)}.")
    return targets


def _bench(protocol: Protocol, sizes: Sizes, request: Mapping[str, Any], run: Run) -> Bench:
    """Returns everything that cells share, loaded, cut and parted."""
    pairs, seed = protocol.task == "pairs", request["seed"]
    column = request["text_column"] or ("sentence1" if pairs else None)
    splits = split_corpus(
        load_corpus(request["corpus"], column),
        request["public_split"],
        request["private_split"],
        request["document_column"],
    )
    for note in splits.notes:
        print(f"del-audit: {note}", file=sys.stderr)
    private, public = splits.private, first_documents(splits.public, sizes.train if pairs else sizes.documents, seed)
    device, dtype = request["device"] or "auto", request["dtype"] or "float32"
    language = load_causal_lm(request["model"], device, dtype)
    extractor = load_causal_lm(request["extractor"], device, dtype) if request["extractor"] else language
    records = {"corpus": splits.corpus.record.sha256, "general": None}
    parts: dict[str, Any] = {"train": None, "test": None, "cuts": None}
    if pairs:
        columns = (request["pair_column"], request["label_column"])
        train = labelled_part(language, public, columns, sizes, sizes.train, seed)
        test = labelled_part(language, private, columns, sizes, sizes.samples, seed, train.classes)
        parts |= {"train": train, "test": test}
        documents = [list(tokens) for tokens in train.tokens]
    else:
        parts["cuts"] = cut_samples(language, private, request["document_column"], request["lengths"], sizes, seed)
        documents = tokenized(language.tokenizer, public.texts, shortest=1)
    rest, attacked = part_attacked(documents, sizes.tokens, seed)
    general = rest
    if request["general_corpus"] is not None:
        other = load_corpus(request["general_corpus"], request["general_column"], request["general_split"])
        records["general"] = other.record.sha256
        general = tokenized(language.tokenizer, first_documents(other, sizes.documents, seed).texts, shortest=1)
    asked = ("public_split", "private_split", "text_column", "document_column", "general_split", "general_column")
    identity = {
        "table": protocol.number,
        "lengths": LENGTHS[request["lengths"]],
        "pair_columns": [request["pair_column"], request["label_column"]] if pairs else None,
        "sizes": asdict(sizes),
        "extractor": extractor.record.sha256,
        "sentences": None if pairs else request["sentences"],
        "decoder": "the linear pair",
        "model_and_text": {
            "model": language.record.sha256,
            "dtype": dtype,
            **records,
            **{name: request[name] for name in asked},
            "documents": sizes.documents,
            "train": sizes.train,
            "tokens": sizes.tokens,
            "seed": seed,
        },
    }
    sentences = None if pairs else load_sentence_encoder(request["sentences"], language.device)
    return Bench(protocol, sizes, language, extractor, sentences, rest, general, attacked, run, seed, identity, **parts)


def _document(
    bench: Bench,
    match: MatchKind,
    request: Mapping[str, Any],
    cells: Sequence[Cell],
    results: Sequence[Mapping[str, Json]],
) -> dict[str, Json]:
    """Returns the whole result: header, cells, paired differences, and what made them."""
    protocol = bench.protocol
    rows = [{**cell.to_dict(), "label": cell.label, **result} for cell, result in zip(cells, results, strict=True)]
    return {
        "table": protocol.number,
        "title": protocol.title,
        "match": match,
        "matched_as_in_the_paper": match == protocol.match,
        "headline": protocol.headline,
        "notes": _notes(bench, match, request),
        "paper": list(protocol.paper),
        "sizes": asdict(bench.sizes),
        "delta": DELTA,
        "clip": CLIP,
        "cells": rows,
        "differences": differences(rows, protocol, bench.seed),
        "model": bench.language.record.to_dict(),
        "extractor": bench.extractor.record.to_dict(),
        "corpora": bench.identity["model_and_text"],
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in request.items()},
        "seed": bench.seed,
        "versions": versions(bench.language.model),
        "commit": commit(),
    }


def _notes(bench: Bench, match: MatchKind, request: Mapping[str, Any]) -> list[str]:
    """Returns what a reader must know before any figure: where this run is not the paper's."""
    protocol, sizes, paper = bench.protocol, bench.sizes, PAPER[bench.protocol.task]
    notes = [
        f"The paper's models (Llama, a 16B MoE, Qwen2.5-72B) are of a hub; this table was run with {request['model']}: "
        "its figures are not the paper's, their order may be."
    ]
    if request["general_corpus"] is None:
        notes.append("The linear pair was trained on the table's own public split; the paper trains it on C4.")
    smaller = [
        f"{name} {getattr(sizes, name)} ({getattr(paper, name)})"
        for name in sizes.__slots__
        if getattr(sizes, name) != getattr(paper, name) and not (protocol.task == "pairs" and name == "new_tokens")
    ]
    if smaller:
        notes.append(f"Sizes that are not the paper's, its own in brackets: {', '.join(smaller)}.")
    if protocol.task == "generation":
        if bench.cuts is not None and len(bench.cuts) < sizes.samples:
            notes.append(f"The private split has {len(bench.cuts)} texts that are long enough.")
        if bench.window < sizes.window:
            notes.append(f"Training windows are of {bench.window} tokens: the model's context holds no more.")
        notes.append(f"Coherence is the cosine of {request['sentences']}; the paper: SimCSE.")
        if any(row.local for row in protocol.rows) and request["extractor"] is None:
            notes.append("The local model of InferDPT is the server's model: --extractor names another.")
    if match == "asr":
        notes.append(
            f"Rows are matched by the paper's attack on {len(bench.attacked)} public tokens: no sharper than the "
            "tolerance beside each. The MAP attack and the exact epsilon at the same noise stand beside it."
        )
    if match == "epsilon":
        notes.append(f"Rows are matched at exact token epsilon, delta {DELTA:g}, each on the safe side of the target.")
    if any(row.prompt == "other mu" for row in protocol.rows):
        notes.append(f"The other soft prompt was trained at mu {OTHER_MU:g}.")
    return notes

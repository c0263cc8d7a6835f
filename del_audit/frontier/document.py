"""The result as JSON values, and as one row of a table per point."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from del_audit.configuration.configuration import Configuration
from del_audit.frontier.dominance import Relation, dominating
from del_audit.frontier.measured import Row
from del_audit.show.numbers import upper_end
from mechanisms.canonical_json import Json
from mechanisms.files import PRIVATE, write_file

FORMAT = "del-audit mechanism frontier 1"


def document_of(
    base: Configuration,
    rows: Sequence[Row],
    first: Sequence[Relation],
    second: Sequence[Relation],
    about: Mapping[str, Json],
) -> dict[str, Json]:
    """Returns the whole result. rows: in the order of the table. about: what the run was asked, and what made it."""
    return {
        "format": FORMAT,
        "name": base.name,
        "assurance": base.policy.assurance,
        "prompt_tokens": base.policy.prompt_tokens,
        "sends": base.policy.sends,
        "attribute": base.attribute.column if base.attribute else None,
        **about,
        "configuration": base.model_dump(mode="json"),
        "points": [_row(row, first, second) for row in rows],
        "relations": {
            "map_and_information": [each.to_dict() for each in first],
            "attacks_and_gain": [each.to_dict() for each in second],
        },
    }


def _row(row: Row, first: Sequence[Relation], second: Sequence[Relation]) -> dict[str, Json]:
    point = row.point
    return {
        "point": point.name,
        "mechanism": point.named.name,
        "epsilon": point.epsilon,
        "configured": point.mechanism() if point.configuration else None,
        "decoder": _decoder(row),
        "first": row.first.to_dict() if row.first else None,
        "second": row.second.to_dict() if row.second else None,
        "dominated_by": {
            "map_and_information": list[Json](dominating(point.name, first)),
            "attacks_and_gain": list[Json](dominating(point.name, second)),
        },
        "why": row.why,
    }


def _decoder(row: Row) -> str | None:
    if row.second is not None:
        return row.second.decoder
    return row.point.configuration.decoder if row.point.configuration else None


def flat(document: Mapping[str, Any]) -> list[dict[str, Json]]:
    """Returns one flat row per point: numbers under the names of their columns, None where there is none."""
    return [_flat(each, document) for each in document["points"]]


def _flat(point: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Json]:
    first, second = point["first"] or {}, point["second"] or {}
    attacks, contexts = second.get("attacks", ()), {each["context"]: each for each in second.get("contexts", ())}
    strongest = {each["key"]: each for each in attacks}.get(second.get("strongest"), {})
    row: dict[str, Json] = {name: point[name] for name in ("point", "mechanism", "epsilon", "decoder", "why")}
    for name in ("epsilon", "at_delta", "pure", "prompt"):
        row[f"{name}_proved"] = upper_end(first[name]) if first else None
    row["bytes_per_token"] = first.get("bytes_per_token")
    figures = {
        "baseline": first.get("baseline"),
        "map": first.get("map"),
        "information": first.get("information"),
        "strongest": strongest.get("success"),
        "meaning": max((each["meaning"] for each in attacks), key=lambda f: f["upper"], default=None),
        "lift_left": contexts["left"]["lift"] if contexts else None,
        "lift_both": contexts["both sides"]["lift"] if contexts else None,
        "list": _listed(second.get("lists", ())),
        "gain": second.get("gain"),
        "share": second.get("share"),
        "attribute": second.get("attribute"),
    }
    for name, figure in figures.items():
        for part in ("value", "lower", "upper"):
            row[f"{name}_{part}"] = figure[part] if figure else None
    row["strongest_attack"] = strongest.get("key")
    row["seed"], row["assurance"] = document["seed"], document["assurance"]
    return row


def _listed(lists: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    same = [each for each in lists if each["decoys"].startswith("the other") and each["lengths"] == "equal"]
    return max(same, key=lambda each: each["tokens"])["success"] if same else None


def write_table(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the flat rows as parquet, whole or not at all; raises UserError where it cannot be written."""
    import pyarrow
    from pyarrow import parquet

    texts = ("point", "mechanism", "decoder", "why", "strongest_attack", "assurance")
    rows = flat(document)
    kinds = {
        name: pyarrow.string() if name in texts else pyarrow.uint64() if name == "seed" else pyarrow.float64()
        for name in rows[0]
    }
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(kinds.items())))
    write_file(path, lambda part: parquet.write_table(table, part, compression="zstd"), mode=PRIVATE)

"""Record the full counts as docs/results/full-counts.json, from what pytest noted of them:

make test-full PYTEST_ARGS="-m full --junitxml=full.xml"
python docs/record_full.py full.xml
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from record_result import FOLDER, provenance

COMMAND = 'make test-full PYTEST_ARGS="-m full --junitxml=full.xml"\npython docs/record_full.py full.xml'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "notes",
        type=Path,
        nargs="+",
        help="files that pytest wrote with --junitxml, in order; a test that failed in one of them has failed",
    )
    parser.add_argument("--commit", default="HEAD", help="the commit that was tested")
    choice = parser.parse_args()
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in (row for path in choice.notes for row in read(path)):
        runs.setdefault((row["file"], row["test"]), []).append(row)
    told = [[row["outcome"] for row in again] for again in runs.values()]
    outcomes = ["failed" if "failed" in each else each[-1] for each in told]
    rows: list[dict[str, Any]] = [
        again[-1] | {"outcome": ", then ".join(row["outcome"] for row in again)} for again in runs.values()
    ]
    rows.sort(key=itemgetter("test"))
    result = {
        "what": "The tests of full counts, which the quick suite samples: each at the counts that its name says",
        "config": {"marker": "full"},
        "metrics": {
            **{word: outcomes.count(word) for word in ("passed", "failed", "skipped")},
            "hours_of_tests": round(sum(row["seconds"] for row in rows) / 3600, 2),
        },
        **provenance(COMMAND, commit=choice.commit),
        "targets": {"failed": "<= 0"},
        "tables": [{"title": "Each test", "rows": rows}],
    }
    (FOLDER / "full-counts.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each test: its name in words, what became of it, and its seconds."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        yield {
            "test": case.attrib["name"].removeprefix("test_").replace("_", " "),
            "file": case.attrib["classname"].removeprefix("tests.").replace(".", "/") + ".py",
            "outcome": "passed" if not bad else "skipped" if bad[0] == "skipped" else "failed",
            "seconds": round(float(case.attrib["time"]), 1),
        }


if __name__ == "__main__":
    main()

"""Makes the tables of docs/mqtt-compatibility.md from mqtt_statements.toml and from what the tests cite.

    python tests/it/mqtt_table.py            writes the page
    python tests/it/mqtt_table.py missing    lists the statements that bind a server and that no test cites

A test cites a statement by `MQTT-3.1.0-1` (MQTT 3.1.1) or `MQTT5-3.1.0-1` (MQTT 5.0), with or without brackets;
`MQTT-4.7.1-1 to MQTT-4.7.1-3` cites three. A number that 5.0 alone has counts as its own without the 5, too. Sections
(`MQTT5-3.3.2.3`) are no statements. Counted are citations
- in a Python test: anywhere in the function and its decorators, and in the names of its cases, where these are the keys
  of a table of the module that a decorator names;
- in a Rust test: in the doc comment of the `#[test]` function.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "mqtt-compatibility.md"
MARK = "<!-- Everything below is written by tests/it/mqtt_table.py. -->\n"
CITATION = re.compile(r"\bMQTT(5?)-((?:\d+\.)+\d+)-(\d+)(?:\]?\s+to\s+\[?MQTT(5?)-((?:\d+\.)+\d+)-(\d+))?")
RUST_TEST = re.compile(r"((?:^[ \t]*///.*\n)+)((?:^[ \t]*#\[.*\]\n)+)[ \t]*(?:async )?fn (\w+)\(", re.M)
VERSIONS = {"": "3.1.1", "5": "5.0"}


@dataclass(frozen=True)
class Test:
    """A test that cites something; `holds` is false for one that is marked as expected to fail."""

    file: str
    name: str
    holds: bool = True

    def shown(self, cases):
        """How the page names it, with those of its cases that cite the statement."""
        return f"`{self.file}::{self.name}`" + (f": {'; '.join(cases)}" if cases else "") + (
            "" if self.holds else " (does not hold yet)")


def statements():
    """version -> id -> (whom it binds, what it says, reason why there is no test or None)"""
    read = tomllib.loads((HERE / "mqtt_statements.toml").read_text())
    return {version: {name: (*row, None)[:3] for name, row in rows.items()} for version, rows in read.items()}


def cited(text):
    """Every (version, id) that a text cites, those between the ends of a range too."""
    for five, section, first, five_too, section_too, last in CITATION.findall(text):
        version = VERSIONS[five]
        if not last:
            yield version, f"{section}-{first}"
            continue
        assert (five, section) == (five_too, section_too), f"a range over two sections: MQTT{five}-{section}-{first}"
        for number in range(int(first), int(last) + 1):
            yield version, f"{section}-{number}"


def python_tests(path):
    """(test, case or None, text that its citations are in) for each test function of a file, and for each case of it."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    tables = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}
    module_fails = "pytestmark" in tables and "xfail(" in ast.unparse(tables["pytestmark"])
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        named = [tables[part.id] for decorator in node.decorator_list for part in ast.walk(decorator)
                 if isinstance(part, ast.Name) and part.id in tables]
        fails = module_fails or any("xfail(" in ast.unparse(part) for part in [*node.decorator_list, *named])
        test = Test(path.name, node.name, not fails)
        yield test, None, "".join(lines[begin - 1:node.end_lineno])
        for key in (key for part in named if isinstance(part, ast.Dict) for key in part.keys):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield test, key.value.split(" [MQTT")[0], key.value


def rust_tests(path):
    for docs, attributes, name in RUST_TEST.findall(path.read_text()):
        if "#[test]" in attributes:
            yield Test(path.relative_to(ROOT).as_posix(), name), None, docs


def citations():
    """(version, id) -> test -> its cases that cite it, in the order of the files."""
    known, found = statements(), defaultdict(dict)
    sources = [python_tests(path) for path in sorted(HERE.glob("test_*.py"))]
    sources += [rust_tests(path) for path in sorted((ROOT / "src").rglob("*.rs"))]
    for tests in sources:
        for test, case, text in tests:
            for version, name in cited(text):
                if name not in known[version] and name in known["5.0"]:
                    version = "5.0"
                cases = found[version, name].setdefault(test, [])
                if case and case not in cases:
                    cases.append(case)
    return found


def missing(known, found):
    """Statements that bind a server and have neither a test nor a reason."""
    return [(version, name) for version, rows in known.items() for name, (whom, _, reason) in rows.items()
            if whom != "client" and not reason and not found.get((version, name))]


def table(version, rows, found):
    tested = sum(bool(found.get((version, name))) for name in rows)
    client = sum(whom == "client" and not found.get((version, name)) for name, (whom, _, _) in rows.items())
    prefix = {value: f"MQTT{key}-" for key, value in VERSIONS.items()}[version]
    yield f"## MQTT {version}, statement by statement\n"
    yield (f"{len(rows)} statements: {tested} with tests, {client} that bind only the client and have none, "
           f"{len(rows) - tested - client} with a reason why there is nothing to show.\n")
    yield "| statement | asks for | binds | test |\n|---|---|---|---|"
    for name, (whom, says, reason) in rows.items():
        tests = found.get((version, name), {})
        shown = " ".join(test.shown(cases) for test, cases in tests.items())
        shown = shown or reason or ("binds the client" if whom == "client" else "**none yet**")
        yield f"| {prefix}{name} | {says} | {whom} | {shown} |"
    yield ""


def page(known, found):
    """The page as it should be: its own words, then the tables."""
    words = PAGE.read_text().split(MARK)[0]
    lines = [line for version, rows in known.items() for line in table(version, rows, found)]
    return words + MARK + "\n" + "\n".join(lines)


def main():
    known, found = statements(), citations()
    if sys.argv[1:] == ["missing"]:
        for version, name in missing(known, found):
            print(version, name, *known[version][name][:2], sep="\t")
    else:
        PAGE.write_text(page(known, found))


if __name__ == "__main__":
    main()

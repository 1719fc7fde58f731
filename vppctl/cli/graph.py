"""graph: who is connected to whom, through which namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from vppctl.cli.settings import Settings

_COLORS = {"APPLIED": "green", "PENDING": "orange", "FAILED": "red", "INVALID": "purple"}
_LITERAL = " -_.,:/@+="
"""Of a label of Mermaid, beside letters and digits."""
Report = Mapping[str, Any]


class Edge(NamedTuple):
    """Two interfaces that belong together, and how the worse of them is."""

    first: str
    second: str
    state: str


class Graph(NamedTuple):
    """Interfaces by the namespace that they are in, and the edges between them."""

    boxes: dict[str, list[str]]
    edges: list[Edge]


@click.command("graph")
@click.option(
    "-o",
    "output",
    type=click.Choice(["text", "dot", "mermaid", "json", "svg"]),
    default="text",
    help="How to draw.  [default: text]",
)
@click.pass_obj
def graph_command(options: dict[str, Any], *, output: str) -> None:
    """Draw who is connected to whom, through which namespaces.

    \b
    Example:
      vppctl graph
      vppctl graph -o svg > net.svg
    """
    from vppctl.cli.observe import read_reports
    from vppctl.cli.render import clean, painter, print_objects

    settings = Settings(options)
    graph = draw(read_reports(settings))
    if output == "json":
        edges = [edge._asdict() for edge in graph.edges]
        print_objects({"namespaces": graph.boxes, "edges": edges}, "json")
        return
    if output == "text":
        for line in _text(graph, painter(settings.color)):
            click.echo(line, color=True)
        return
    lines: dict[str, Callable[[Graph], Iterator[str]]] = {"dot": _dot, "mermaid": _mermaid, "svg": _svg}
    for line in lines[output](graph):
        click.echo(clean(line))


def draw(reports: Sequence[Report]) -> Graph:
    """The graph of these reports; an interface of VPP has `vpp:` before its name."""
    boxes: dict[str, list[str]] = {}
    edges: dict[frozenset[str], Edge] = {}
    states = {_node(r): str(r.get("state", "")) for r in reports}
    ties = Ties(reports)
    for report in reports:
        node = _node(report)
        boxes.setdefault(str(report.get("namespace") or "?"), []).append(node)
        other = ties.of(report)
        if other is not None:
            worst = max(states[node], states[_node(other)], key=_badness)
            edges.setdefault(frozenset((node, _node(other))), Edge(node, _node(other), worst))
    return Graph(boxes, list(edges.values()))


def chain(report: Report, ties: Ties) -> list[str]:
    """From an interface on: VPP interface, host interface, peer, and the peer's namespace."""
    found, seen, last = [_node(report)], {_node(report)}, report
    while (other := ties.of(last)) is not None and _node(other) not in seen:
        found.append(_node(other))
        seen.add(_node(other))
        last = other
    return [*found, f"namespace {last.get('namespace')}"] if len(found) > 1 else found


class Ties:
    """Finds what an interface is tied to, among thousands."""

    def __init__(self, reports: Sequence[Report]) -> None:
        linux = [report for report in reports if report.get("kind") == "linux"]
        self._names = {report["name"]: report for report in reversed(linux)}
        here = [report for report in linux if report.get("namespace") == "default" and report.get("host_if_name")]
        self._hosts = {report["host_if_name"]: report for report in reversed(here)}

    def of(self, report: Report) -> Report | None:
        """Its peer, or the host interface of VPP's."""
        if report.get("kind") == "vpp":
            return self._hosts.get(report.get("host_if_name"))
        return self._names.get(report.get("peer"))


def _node(report: Report) -> str:
    return f"vpp:{report['name']}" if report.get("kind") == "vpp" else str(report["name"])


def _badness(state: str) -> int:
    known = ["", "APPLIED", "PENDING", "UNKNOWN", "FAILED", "INVALID"]
    return known.index(state if state in known else "UNKNOWN")


def _text(graph: Graph, paint: Callable[[str, str], str]) -> Iterator[str]:
    from vppctl.cli.render import clean

    ends: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        ends.setdefault(edge.first, []).append((edge.second, edge.state))
        ends.setdefault(edge.second, []).append((edge.first, edge.state))
    for space in sorted(graph.boxes):
        yield paint(clean(space), "HEADER")
        nodes = sorted(graph.boxes[space])
        for node in nodes:
            branch = "└─" if node == nodes[-1] else "├─"
            others = [
                f"  ── {clean(other)} {paint(f'[{state}]', state)}" for other, state in sorted(ends.get(node, ()))
            ]
            yield f"{branch} {clean(node)}{''.join(others)}"


def _quoted(text: str) -> str:
    """A quoted ID of dot: backslashes begin escapes in labels, ampersands entities of HTML."""
    from vppctl.cli.render import clean

    text = clean(text)
    for special, meant in (("\\", "\\\\"), ('"', '\\"'), ("&", "&amp;")):
        text = text.replace(special, meant)
    return f'"{text}"'


def _svg(graph: Graph) -> Iterator[str]:
    from vppctl.cli.svg import svg

    return svg(graph.boxes, graph.edges, _COLORS)


def _dot(graph: Graph) -> Iterator[str]:
    yield "graph vppctl {"
    for number, (space, nodes) in enumerate(sorted(graph.boxes.items())):
        yield f"  subgraph cluster_{number} {{ label={_quoted(space)};"
        yield from (f"    {_quoted(node)};" for node in sorted(nodes))
        yield "  }"
    for edge in graph.edges:
        color = _COLORS.get(edge.state, "gray")
        yield f"  {_quoted(edge.first)} -- {_quoted(edge.second)} [color={color}];"
    yield "}"


def _label(text: str) -> str:
    """A label of Mermaid: all that could mean something, there or in the HTML that it makes, is an entity of its own.

    `%%` begins a directive or a comment wherever it stands, a backquote Markdown, `$$` a formula, `#` an entity.
    """
    from vppctl.cli.render import clean

    return '"' + "".join(c if c.isalnum() or c in _LITERAL else f"#{ord(c)};" for c in clean(text)) + '"'


def _mermaid(graph: Graph) -> Iterator[str]:
    numbers = {node: n for n, node in enumerate(node for nodes in graph.boxes.values() for node in nodes)}
    yield "graph LR"
    for number, (space, nodes) in enumerate(sorted(graph.boxes.items())):
        yield f"  subgraph s{number}[{_label(space)}]"
        yield from (f"    n{numbers[node]}[{_label(node)}]" for node in sorted(nodes))
        yield "  end"
    for edge in graph.edges:
        yield f"  n{numbers[edge.first]} ---|{_label(edge.state)}| n{numbers[edge.second]}"

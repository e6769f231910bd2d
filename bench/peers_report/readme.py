"""README.md of the results."""

import statistics

from . import bench, figures
from .ratios import Rows, counts, spread

HEAD = """# hopwise beside nginx, HAProxy and Envoy

Made on {date} by `{command}`; run that again rather than change anything here.

- Program: commit {commit}{changed}{given}, {rustc}
- Others: {others}
- Machine: {cpu}, {cores} cores seen, Linux {kernel}
- Rows: `rows.json`, one measurement per line; `machine.json`. Values are medians over {rounds}
  rounds, ratios are taken within each round, or turn of one: median (least – most).
- {dropped} of {measured} measurements do not count: they were to saturate the proxy, but it used
  less than 90 % of its core, since others on the machine held up the generator or the gateway.
  They are in the rows, and listed at the end.

Each proxy has one worker on a core of its own, connections kept alive on both sides, and no access
log; the gateway and the generator have {elsewhere}. CPU is the run time of all threads of the
proxy over the requests answered. hopwise runs with all that it does by default, in dynamic mode
(adaptive, predictive), as a node that may offload: among 5 nodes, or 41 (`hopwise-41`), the others
of which are 50 ms away. `hopwise-proper` is the same with `header_case: proper`: like HAProxy and
Envoy, and other than nginx, it does not keep the case of header fields. hopwise is built by
`bench/pgo`, which has shown the compiler these loads, hops, TLS and HTTP/2; `hopwise-plain` is what
`cargo build --release` makes. `floor` is no product but the least that a proxy on hyper can do
(`bench/floor`), built as hopwise is: it passes messages on, and does nothing else. What it costs is
hyper's, http's, tokio's and the kernel's; what it misses by more than the spread is out of reach for
a proxy on hyper that uses it no better than we know how to. `floor-proper` does not keep the case of
header fields.

"""


def table(columns, lines):
    def line(cells):
        return "| " + " | ".join(map(str, cells)) + " |\n"

    rule = "|" + "|".join(["---"] + ["--:"] * (len(columns) - 1)) + "|\n"
    return line(columns) + rule + "".join(map(line, lines)) + "\n"


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def head(about, rows):
    rounds = {row["round"] for row in rows.all} - {0}
    return HEAD.format(**{
        **about,
        "changed": " with changes that are not committed" if about["changed"] else "",
        "given": f" (or whatever {about['given']} is made of)" if about["given"] else "",
        "elsewhere": "other cores" if about["cores"] > 3 else "another core, which they share",
        "others": "; ".join(about["versions"].values()),
        "rounds": len(rounds),
        "measured": len(rows.all),
        "dropped": sum(not counts(row) for row in rows.all),
    })


def of_figures(rows):
    checked = figures.all_of(rows)
    if not checked:
        return ""
    return "## Figures to reach\n\n" + table(
        ["figure", "of", "demand", "found", "turns", ""], [figure.line() for figure in checked])


def busy(rows, scenario, peer):
    """Shares of their cores that the three parties use, in percent."""
    shares = (rows.median(scenario, peer, f"{who}_busy")
              for who in ["proxy", "gateway", "generator"])
    return " / ".join(f"{100 * share:.0f}" for share in shares if share is not None)


def of_scenario(rows, scenario):
    peers = rows.peers(scenario.name)
    if not peers:
        return ""
    lines = []
    for peer in sorted(peers, key=lambda peer: (peer != "direct", peers.index(peer))):
        ratios = [spread(rows.ratios(scenario.name, figures.CPU, subject, peer))
                  if peer not in (subject, "direct") else "" for subject in figures.SUBJECTS[:1]]
        lines.append([
            peer,
            number(rows.median(scenario.name, peer, figures.CPU)) if peer != "direct" else "",
            *ratios,
            number(rows.median(scenario.name, peer, "requests_per_s"), 0),
            number(rows.median(scenario.name, peer, "p50_us"), 0),
            number(rows.median(scenario.name, peer, "p99_us"), 0),
            *(spread(rows.added(scenario.name, key, peer), 0) if peer != "direct" else ""
              for key in ["p50_us", "p99_us"]),
            busy(rows, scenario.name, peer)])
    return f"### {scenario.title}\n\n" + table(
        ["", "CPU µs per request", "hopwise's CPU ×", "requests/s", "P50 µs", "P99 µs",
         "P50 added", "P99 added", "busy, %: proxy / gateway / generator"], lines)


def of_memory(rows):
    peers = rows.peers("memory")
    if not peers:
        return ""
    lines = [[peer, *(number(rows.median("memory", peer, key) / 1024)
                      for key in ["fresh_kib", "idle_clients_kib"])] for peer in peers]
    return "### Memory, MiB\n\nResident; pages that two processes of a proxy share count once.\n\n" \
        + table(["", "fresh", "with 1 000 idle clients"], lines)


def of_instructions(rows):
    peers = rows.peers("instructions")
    if not peers:
        return ""
    key = "instructions_per_request"
    lines = [[peer, number(rows.median("instructions", peer, key), 0)] for peer in peers]
    return "### Instructions per request\n\nIn user space, under callgrind, 8 connections.\n\n" \
        + table(["", "instructions"], lines)


def of_variants(rows, scenario, title, note):
    peers = rows.peers(scenario)
    if not peers:
        return ""
    lines = [[peer, number(rows.median(scenario, peer, figures.CPU)),
              spread(rows.ratios(scenario, figures.CPU, peer, peers[0])),
              number(rows.median(scenario, peer, "requests_per_s"), 0),
              spread(rows.ratios(scenario, "requests_per_s", peer, peers[0])),
              busy(rows, scenario, peer)] for peer in peers]
    return f"### {title}\n\n{note}\n\n" + table(
        ["", "CPU µs per request", f"× {peers[0]}", "requests/s", f"× {peers[0]}",
         "busy, %: proxy / gateway / generator"], lines)


def of_warnings(rows):
    seen = {}
    for row in rows.all:
        for text in row.get("warnings", ()):
            of = seen.setdefault((row["scenario"], row["peer"]), [])
            of.append(f"round {row['round']}: {text}")
    lines = [f"- {scenario}, {peer}: {'; '.join(texts)}\n"
             for (scenario, peer), texts in seen.items()]
    stolen = [row.get("stolen", 0) for row in rows.all]
    if stolen:
        lines.append(f"- The host gave {statistics.mean(stolen):.1%} of the machine's time to "
                     f"others, and at most {max(stolen):.1%} of it during one measurement.\n")
    return "## What may have disturbed this\n\n" + "".join(lines)


def render(about, rows):
    rows = Rows(rows)
    parts = [head(about, rows), of_figures(rows), "## Each load\n\n"]
    parts += [of_scenario(rows, scenario) for scenario in bench.ALL]
    parts += [
        of_memory(rows),
        of_variants(rows, "scaling", "Two workers", "Saturated, 64 connections; two workers on two "
                    "cores. Where gateway or generator are busy, it is they who are the limit, "
                    "and the CPU per request tells what two workers could do."),
        of_variants(rows, "hop", "An extra hop", "Client, sidecar, sidecar, gateway; the CPU of "
                    "both sidecars, which share a core. Signed: with a key of the peers. No hop: the "
                    "second is the gateway of the first, which does not know it for a sidecar."),
        of_variants(rows, "burst", "Samples in the window", "3 000 requests after a minute "
                    "without any, and the same after 50 000 others."),
        of_instructions(rows), of_warnings(rows)]
    return "".join(parts).rstrip("\n") + "\n"

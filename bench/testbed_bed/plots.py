"""Plots as SVG: lines over the number of users, boxes, bars. Nothing but text is needed for that."""

import math
from html import escape

#: Colour and dashes of each policy.
STYLES = {
    "centralized": ("#8c6bb1", ""), "federated": ("#2b8cbe", ""), "decentralized": ("#31a354", ""),
    "dynamic": ("#d7301f", ""), "dynamic with turns": ("#d7301f", "6 3"),
    "documented rules": ("#444444", ""),
    "nginx least_conn": ("#a6761d", "6 3"), "nginx random two": ("#e6ab02", "6 3"),
    "haproxy leastconn": ("#66a61e", "2 3"), "envoy least_request": ("#e7298a", "2 3"),
    "clairvoyant": ("#999999", "1 2"),
}
WIDTH, HEIGHT = 470, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 34, 44


def ticks(low, high, is_log):
    """Round numbers between them."""
    if is_log:
        every = [step * 10 ** power for power in range(-1, 5) for step in (1, 1.5, 2, 3, 4, 5, 7)]
        return [value for value in every if low <= value <= high]
    step = 1.0
    while high / step > 6:
        step *= 2.5 if str(step)[0] == "2" else 2
    while high / step < 3:
        step /= 2
    return [step * i for i in range(int(high / step) + 1) if step * i >= low]


class Panel:
    """One plot; `x` and `y` give places for values."""

    def __init__(self, at, title, xs, high, labels, low=0.0, is_log=False):
        self.left, self.top, self.parts = at[0] + LEFT, at[1] + TOP, []
        self.xs, self.is_log = xs, is_log
        self.low, self.high = self.scaled(low), self.scaled(high)
        bottom, right = at[1] + HEIGHT - BOTTOM, at[0] + WIDTH - RIGHT
        self.bottom, self.right = bottom, right
        self.text((self.left + right) / 2, at[1] + 20, title, "middle", 14)
        for value in ticks(low, high, is_log):
            y = self.y(value)
            self.line(self.left, y, right, y, "#dddddd")
            self.text(self.left - 6, y + 4, f"{value:g}", "end")
        self.text(at[0] + 13, (self.top + bottom) / 2, labels[1], "middle", 12,
                  f' transform="rotate(-90 {at[0] + 13} {(self.top + bottom) / 2})"')
        self.text((self.left + right) / 2, bottom + 36, labels[0], "middle")
        self.line(self.left, bottom, right, bottom, "#000000")

    def x(self, value):
        """Values of the axis stand evenly: they are 2, 4, …, 40."""
        share = (self.xs.index(value) + 0.5) / len(self.xs)
        return self.left + share * (self.right - self.left)

    def scaled(self, value):
        return math.log(value) if self.is_log else value

    def y(self, value):
        share = (self.scaled(value) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def line(self, x1, y1, x2, y2, colour, width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"/>')

    def text(self, x, y, words, anchor="start", size=12, more=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
                          f'font-size="{size}"{more}>{escape(str(words))}</text>')

    def curve(self, points, name):
        colour, dashes = STYLES[name]
        width = 3 if name == "dynamic" else 1.6
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="{width}" stroke-dasharray="{dashes}"/>')
        self.parts += [f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="2.4" '
                       f'fill="{colour}"/>' for x, y in points]

    def rect(self, x, y1, y2, width, colour):
        self.parts.append(f'<rect x="{x - width / 2:.1f}" y="{min(y1, y2):.1f}" '
                          f'width="{width:.1f}" height="{abs(y2 - y1):.1f}" fill="{colour}" '
                          f'fill-opacity="0.55" stroke="{colour}"/>')


def legend(names, y):
    """Names with their colours, in rows."""
    parts, x = [], LEFT
    for name in names:
        colour, dashes = STYLES[name]
        if x > 2 * WIDTH - 150:
            x, y = LEFT, y + 18
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 26}" y2="{y - 4}" stroke="{colour}" '
                     f'stroke-width="3" stroke-dasharray="{dashes}"/><text x="{x + 32}" y="{y}" '
                     f'font-size="12">{escape(name)}</text>')
        x += 60 + 7 * len(name)
    return parts, y


def write(path, panels, names):
    parts = [part for panel in panels for part in panel.parts]
    named, end = legend(names, HEIGHT + 16)
    height = end + 12
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" '
        f'font-family="sans-serif"><rect width="{2 * WIDTH}" height="{height}" fill="#ffffff"/>'
        + "\n".join([*parts, *named]) + "</svg>\n", encoding="utf-8")


def lines(path, title, series, label):
    """`series`: for each entry, for each policy, points over users."""
    names = [name for name in STYLES if any(name in found for found in series.values())]
    xs = sorted({x for found in series.values() for points in found.values() for x, _ in points})
    ys = [y for found in series.values() for points in found.values() for _, y in points]
    panels = []
    for place, (entry, found) in enumerate(series.items()):
        # One policy is several times as slow as the others: on an even scale these were one line.
        panel = Panel((place * WIDTH, 0), f"{title}, {entry} entry", xs, 1.05 * max(ys),
                      ("users", label), 0.95 * min(ys), is_log=True)
        for x in xs:
            panel.text(panel.x(x), panel.bottom + 16, x, "middle")
        for name in names:
            if name in found:
                panel.curve(found[name], name)
        panels.append(panel)
    write(path, panels, names)


def boxes(path, title, series):
    """`series`: for each entry, for each policy, a row with quantiles."""
    names = [name for name in STYLES if any(name in found for found in series.values())]
    high = 1.05 * max(row["p99_ms"] for found in series.values() for row in found.values())
    panels = []
    for place, (entry, found) in enumerate(series.items()):
        panel = Panel((place * WIDTH, 0), f"{title}, {entry} entry", names, high,
                      ("5 and 95 %, quartiles, median; 99 % as a dot", "ms"))
        for name in [name for name in names if name in found]:
            row, x, colour = found[name], panel.x(name), STYLES[name][0]
            panel.line(x, panel.y(row["p5_ms"]), x, panel.y(row["p95_ms"]), colour, 1.5)
            panel.rect(x, panel.y(row["p25_ms"]), panel.y(row["p75_ms"]), 24, colour)
            for at, half in [("p5_ms", 7), ("p95_ms", 7), ("p50_ms", 12)]:
                y = panel.y(row[at])
                panel.line(x - half, y, x + half, y, colour, 2)
            panel.parts.append(f'<circle cx="{x:.1f}" cy="{panel.y(row["p99_ms"]):.1f}" r="2.5" '
                               f'fill="{colour}"/>')
        panels.append(panel)
    write(path, panels, names)


def bars(path, title, series, label):
    """`series`: for each entry, for each policy, a number."""
    names = [name for name in STYLES if any(name in found for found in series.values())]
    high = 1.1 * max(value for found in series.values() for value in found.values())
    panels = []
    for place, (entry, found) in enumerate(series.items()):
        panel = Panel((place * WIDTH, 0), f"{title}, {entry} entry", names, high, ("", label))
        for name in [name for name in names if name in found]:
            y = panel.y(found[name])
            panel.rect(panel.x(name), y, panel.bottom, 26, STYLES[name][0])
            panel.text(panel.x(name), y - 4, f"{found[name]:.3g}", "middle", 11)
        panels.append(panel)
    write(path, panels, names)

"use strict";
const KEPT = 300; // events of a second each
const SHOWN = 60; // the fewest that charts have room for
const ARCHITECTURES = ["centralized", "federated", "decentralized"];
const $ = (id) => document.getElementById(id);
const past = []; // events, oldest first
let token = "";
let shown = null; // the function that charts show
let known = null; // mode, generation and thresholds last seen
let decisions = true; // whether this sidecar keeps them

/* Elements: text is always text, never markup. */
function make(space, name, attributes, children) {
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  for (const child of [].concat(children ?? [])) element.append(child);
  return element;
}
const html = (name, attributes, children) => make(null, name, attributes, children);
const svg = (name, attributes, children) => make("http://www.w3.org/2000/svg", name, attributes, children);
const text = (x, y, words, more) => svg("text", { x, y, ...more }, String(words));
const ms = (seconds) => (seconds == null ? "–" : (seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 0));
const percent = (share) => `${(share * 100).toFixed(1)} %`;

/* As much of `words` as `width` has room for; both ends, since names of pods differ at either. */
function fitted(words, width) {
  const room = Math.max(5, Math.floor(width / 7.4));
  if (words.length <= room) return words;
  const tail = Math.floor((room - 1) / 2);
  return `${words.slice(0, room - 1 - tail)}…${words.slice(-tail)}`;
}
/* Such text, which tells the whole when pointed at. */
function label(x, y, words, width, more) {
  const drawn = text(x, y, fitted(words, width), more);
  drawn.append(svg("title", {}, words));
  return drawn;
}

function picture(id, width, height, label, children) {
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, children);
  $(id).replaceChildren(drawn);
}
function rows(id, cells) {
  $(id).tBodies[0].replaceChildren(...cells.map((row) => html("tr", {}, row.map((cell, i) => {
    const [words, kind] = Array.isArray(cell) ? cell : [cell, ""];
    return i ? html("td", { class: kind }, String(words)) : html("th", { scope: "row", class: kind }, String(words));
  }))));
}

/* The map: a column per zone. */
function drawMap(event) {
  const zones = [...new Set(event.clusters.nodes.map((n) => n.zone))];
  const stack = zones.map((zone) => event.clusters.nodes.filter((n) => n.zone === zone));
  const width = 900, column = width / zones.length, step = 66;
  const height = 34 + step * Math.max(...stack.map((nodes) => nodes.length));
  const box = Math.min(column - 24, 200), at = new Map(), parts = [];
  stack.forEach((nodes, i) => {
    parts.push(label(i * column + column / 2, 16, zones[i], column - 8, { "text-anchor": "middle", class: "dim" }));
    nodes.forEach((n, j) => at.set(n.id, [i * column + column / 2, 52 + j * step]));
  });
  const own = at.get(event.node), ran = (n) => event.metrics.nodes[n.id]?.count ?? 0;
  const most = Math.max(1, ...event.clusters.nodes.map(ran));
  for (const n of event.clusters.nodes) {
    if (n.id === event.node || !ran(n)) continue;
    const [x, y] = at.get(n.id), bend = (own[1] + y) / 2 - 40;
    parts.push(svg("path", { class: "flow", d: `M${own} Q${(own[0] + x) / 2} ${bend} ${x} ${y}`,
      "stroke-width": 1 + 9 * ran(n) / most }));
  }
  for (const n of event.clusters.nodes) {
    const [x, y] = at.get(n.id), left = x - box / 2;
    const busy = Math.min(1, (n.in_flight ?? 0) / (n.cores || 4));
    parts.push(svg("rect", { class: `node ${n.health}`, x: left, y: y - 20, width: box, height: 48, rx: 6 }));
    const self = n.self ? " (this node)" : "";
    parts.push(label(left + 8, y - 3, fitted(n.id, box - 16 - 7.4 * self.length) + self, box - 16));
    parts.at(-1).lastChild.textContent = n.id;
    parts.push(svg("rect", { class: "busy", x: left + 8, y: y + 3, width: (box - 16) * busy, height: 4 }));
    parts.push(label(left + 8, y + 22, `${n.in_flight ?? "?"} in flight, ${n.health}`, box - 16, { class: "dim" }));
  }
  picture("map", width, height, "Nodes by zone; the table below says the same", parts);
  rows("nodes", event.clusters.nodes.map((n) => {
    const seen = event.metrics.nodes[n.id] || {};
    return [n.id, n.zone, n.role, [n.health, n.health], n.in_flight ?? "–", n.cores ?? "–", seen.count ?? 0,
      ms(seen.p95_s), ms(n.network_s), ms(n.completion_s)];
  }));
}

/* Lines over time: `lines` are { name, color, of(event) }. */
function drawLines(id, label, lines, levels, unit) {
  const width = 460, height = 190, left = 44, bottom = 22;
  const values = past.flatMap((event) => lines.map((line) => line.of(event))).filter((v) => v != null);
  const top = Math.max(...values, ...levels.map((level) => level.at), 1e-9) * 1.1;
  const x = (i) => left + (width - left - 6) * (span() - past.length + i) / (span() - 1);
  const y = (value) => (height - bottom) - (height - bottom - 8) * value / top;
  const parts = axes(width, height, left, bottom, top, unit);
  for (const level of levels) {
    parts.push(svg("line", { class: "threshold", x1: left, x2: width, y1: y(level.at), y2: y(level.at) }));
    // Those of one pair lie near those of the other.
    const [where, anchor] = level.name.endsWith("f2c") ? [width - 4, "end"] : [left + 4, "start"];
    parts.push(text(where, y(level.at) - 3, level.name, { "text-anchor": anchor, class: "dim" }));
  }
  for (const line of lines) {
    let pen = "M";
    const path = past.map((event, i) => {
      const value = line.of(event);
      if (value == null) { pen = "M"; return ""; }
      const step = `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
    if (path) parts.push(svg("path", { d: path, fill: "none", "stroke-width": 2, stroke: line.color,
      "stroke-dasharray": line.dash || "none" }));
  }
  marks(parts, x, height - bottom);
  const last = past.at(-1);
  const now = lines.map((line) => [line.name, line.of(last)]).filter(([, value]) => value != null);
  picture(id, width, height, `${label}. Now: ${now.map(([n, v]) => `${n} ${v.toFixed(2)}`).join(", ") || "nothing yet"}`, parts);
}
const span = () => Math.max(SHOWN, past.length);
function axes(width, height, left, bottom, top, unit) {
  const floor = height - bottom;
  return [
    svg("line", { class: "axis", x1: left, x2: width, y1: floor, y2: floor }),
    text(left - 4, 14, top < 100 ? top.toPrecision(2) : top.toFixed(0), { "text-anchor": "end", class: "dim" }),
    text(left - 4, floor, "0", { "text-anchor": "end", class: "dim" }),
    text(left, height - 6, `${unit}; the last ${span()} s`, { class: "dim" }),
  ];
}
function marks(parts, x, floor) {
  past.forEach((event, i) => {
    if (event.marked) parts.push(svg("line", { class: "mark", x1: x(i), x2: x(i), y1: 4, y2: floor }, svg("title", {}, event.marked)));
  });
}
const summaryOf = (event, architecture) => event.metrics.functions[shown]?.architectures[architecture];
const color = (architecture) => `var(--${architecture})`;

function drawShares() {
  const width = 460, height = 190, left = 44, bottom = 22, floor = height - bottom;
  const x = (i) => left + (width - left - 6) * (span() - past.length + i) / (span() - 1);
  const parts = axes(width, height, left, bottom, 1, "share of invocations");
  const base = past.map(() => 0);
  for (const architecture of ARCHITECTURES) {
    const low = [...base];
    past.forEach((event, i) => { base[i] += event.metrics.functions[shown]?.shares[architecture] ?? 0; });
    const y = (share) => floor - (floor - 8) * share;
    const there = base.map((share, i) => `${x(i).toFixed(1)},${y(share).toFixed(1)}`);
    const back = low.map((share, i) => `${x(i).toFixed(1)},${y(share).toFixed(1)}`).reverse();
    parts.push(svg("polygon", { points: [...there, ...back].join(" "), fill: color(architecture), opacity: .8 }));
  }
  marks(parts, x, floor);
  const now = past.at(-1).metrics.functions[shown]?.shares || {};
  const told = ARCHITECTURES.map((a) => `${a} ${percent(now[a] ?? 0)}`).join(", ");
  picture("shares", width, height, `Shares of the architectures. Now: ${told}`, parts);
  $("legend").replaceChildren(...ARCHITECTURES.map((a) =>
    html("span", { class: "key", style: `--c:${color(a)}` }, `${a} ${percent(now[a] ?? 0)}  `)));
}

function drawFunction(event) {
  drawShares();
  const { soft_d2f, hard_d2f, soft_f2c, hard_f2c } = event.thresholds;
  const levels = Object.entries({ soft_d2f, hard_d2f, soft_f2c, hard_f2c }).map(([name, at]) => ({ name, at }));
  drawLines("ratio", "Tail ratio", ARCHITECTURES.map((a) => ({
    name: a, color: color(a), of: (e) => summaryOf(e, a)?.tail_ratio })), levels, "P95/P50");
  drawLines("latency", "P95 solid and P50 dashed, in milliseconds", ARCHITECTURES.flatMap((a) => [
    { name: `${a} P95`, color: color(a), of: (e) => times(summaryOf(e, a)?.p95_s) },
    { name: `${a} P50`, color: color(a), dash: "3 3", of: (e) => times(summaryOf(e, a)?.p50_s) },
  ]), [], "ms");
  const shares = event.metrics.functions[shown]?.shares || {};
  rows("functions", ARCHITECTURES.map((a) => {
    const s = summaryOf(event, a);
    return [a, percent(shares[a] ?? 0), s?.count ?? 0, ms(s?.p50_s), ms(s?.p95_s), s ? s.tail_ratio.toFixed(2) : "–"];
  }));
}
const times = (seconds) => (seconds == null ? null : seconds * 1e3);

function drawHeat(event) {
  const ids = event.clusters.nodes.map((n) => n.id).slice(0, 40);
  const left = Math.min(170, 8 + 7.4 * Math.max(5, ...ids.map((id) => id.length))), columns = 60, cell = 6, step = span() / columns, line = 20, width = left + columns * cell;
  const height = ids.length * line + 4, parts = [];
  const known = past.flatMap((e) => ids.map((id) => e.metrics.nodes[id]?.p95_s)).filter((v) => v > 0);
  const low = Math.min(...known), high = Math.max(...known);
  const heat = (v) => (high > low ? Math.log(v / low) / Math.log(high / low) : 0);
  ids.forEach((id, row) => {
    parts.push(label(0, row * line + 14, id, left - 8));
    for (let c = 0; c < columns; c++) {
      const e = past[Math.floor(past.length - (columns - c) * step)];
      const p95 = e?.metrics.nodes[id]?.p95_s;
      if (p95 == null) continue;
      parts.push(svg("rect", { x: left + c * cell, y: row * line, width: cell, height: line - 2,
        fill: `hsl(${210 - 210 * heat(p95)} 75% 50%)` }, svg("title", {}, `${id}: P95 ${ms(p95)} ms`)));
    }
  });
  picture("heat", width, height, "P95 of each node over time; the table of nodes has those of now", parts);
  $("heat-scale").textContent = known.length ? `blue ${ms(low)} ms, red ${ms(high)} ms; logarithmic, the last ${span()} s` : "nothing ran yet";
}

function drawDecisions(list) {
  $("decided").hidden = false;
  rows("decisions", list.slice(0, 10).map((d) => [new Date(d.time * 1e3).toLocaleTimeString(), d.function,
    d.step === "run_here" ? `${d.node} (here)` : d.target ?? d.step, d.architecture, [reason(d), "words"]]));
}

function reason(decision) {
  const seen = decision.candidates.filter((c) => c.price_s != null).sort((a, b) => a.price_s - b.price_s);
  const told = seen.slice(0, 3).map((c) => `${c.node} ${ms(c.completion_s)} ms`).join(", ");
  return decision.why + (told ? `; predicted: ${told}` : "");
}

/* Who decides most of each function. Whoever did goes on until another clearly does. */
function leaders(event) {
  const clear = (shares) => ARCHITECTURES.find((a) => (shares[a] ?? 0) > 0.6);
  return Object.fromEntries(Object.entries(event.metrics.functions).map(([name, { shares }]) =>
    [name, clear(shares) ?? known?.leaders[name]]));
}
function switched(before, now) {
  const names = Object.keys(now).filter((name) => before[name] && now[name] && before[name] !== now[name]);
  const words = names.slice(0, 3).map((name) => `${name}: ${before[name]} → ${now[name]}`);
  return names.length > 3 ? [...words, `and ${names.length - 3} more functions`] : words;
}

/* What changed since the last event becomes a mark. */
function note(event) {
  const now = { mode: event.mode, generation: event.generation, thresholds: JSON.stringify(event.thresholds),
    leaders: leaders(event) };
  const words = known ? switched(known.leaders, now.leaders) : [];
  if (known && known.mode !== now.mode) words.push(`mode ${known.mode} → ${now.mode}`);
  if (known && known.thresholds !== now.thresholds) words.push("other thresholds");
  if (known && known.generation !== now.generation) words.push(`generation ${now.generation}`);
  if (!known || known.mode !== now.mode) $("mode-value").value = now.mode;
  if (!known || known.thresholds !== now.thresholds) {
    for (const [name, value] of Object.entries(event.thresholds)) $("thresholds-form").elements[name].value = value;
  }
  known = now;
  if (!words.length) return;
  event.marked = words.join(", ");
  const when = new Date(event.timestamp * 1e3);
  $("marks").prepend(html("li", {}, [html("time", { datetime: when.toISOString() }, when.toLocaleTimeString()), ` ${event.marked}`]));
  while ($("marks").children.length > 50) $("marks").lastChild.remove();
}

function take(event) {
  note(event);
  past.push(event);
  if (past.length > KEPT) past.shift();
  $("node").textContent = event.node;
  $("mode").textContent = event.mode;
  $("generation").textContent = event.generation;
  $("inflight").textContent = event.clusters.nodes.find((n) => n.self)?.in_flight ?? "–";
  const names = Object.keys(event.metrics.functions);
  if (shown === null || !names.includes(shown)) {
    shown = names.sort((a, b) => event.metrics.functions[b].qps - event.metrics.functions[a].qps)[0] ?? null;
  }
  const listed = [...$("function").options].map((option) => option.value);
  if (listed.join("\n") !== [...names].sort().join("\n")) {
    $("function").replaceChildren(...[...names].sort().map((name) => html("option", {}, name)));
  }
  if (shown !== null && $("function").value !== shown) $("function").value = shown;
  drawMap(event);
  drawFunction(event);
  drawHeat(event);
}

/* Calls. Events are read by fetch, since EventSource cannot show a token. */
const call = (path, options) => fetch(path, { ...options,
  headers: token ? { authorization: `Bearer ${token}` } : {} });
async function listen() {
  for (;;) {
    try {
      const answer = await call("/events");
      if (answer.status === 403) return ask();
      if (!answer.ok) throw new Error(`/events: ${answer.status}`);
      $("link").textContent = "live";
      await readEvents(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch (problem) {
      console.info(problem);
    }
    $("link").textContent = "no connection; trying again";
    await new Promise((again) => setTimeout(again, 2000));
  }
}
async function readEvents(reader) {
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) if (event.startsWith("data: ")) take(JSON.parse(event.slice(6)));
    if (decisions && past.length % 2 === 0) askDecisions();
  }
}
async function askDecisions() {
  const answer = await call("/decisions");
  decisions = answer.ok;
  if (answer.ok) drawDecisions((await answer.json()).decisions ?? []);
}
function ask() {
  $("link").textContent = "the admin token is needed";
  $("token-said").textContent = token ? "That is not the token of this sidecar." : "";
  $("token").hidden = false;
  $("token-value").focus();
}
async function change(path, body) {
  try {
    const answer = await call(path, { method: "POST", body: body === undefined ? undefined : JSON.stringify(body) });
    const said = await answer.json();
    const remedies = (said.problems ?? []).map((p) => `${p.key ?? ""} ${p.fault ?? p.message ?? ""}`).join("; ");
    $("said").textContent = answer.ok ? `Done: generation ${said.generation}.` : `Refused: ${remedies || said.message}`;
    $("said").className = answer.ok ? "" : "failed";
  } catch (problem) {
    $("said").textContent = `No answer: ${problem.message}`;
  }
}
function on(id, act) {
  $(id).addEventListener("submit", (event) => { event.preventDefault(); act(event.target); });
}
on("mode-form", () => change("/reload", { architecture: $("mode-value").value }));
on("thresholds-form", (form) => change("/update_threshold",
  Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, Number(value)]))));
on("reload-form", () => change("/reload"));
on("token-form", () => {
  const given = $("token-value").value;
  if (!/^[\x21-\x7e]+$/.test(given)) {
    $("token-said").textContent = "A token has letters, digits and signs of ASCII, and no spaces.";
    return $("token-value").focus();
  }
  token = given;
  $("token").hidden = true;
  listen();
});
$("function").addEventListener("change", () => { shown = $("function").value; if (past.length) drawFunction(past.at(-1)); });
listen();

"use strict";
// The page is a function of three things: the story (data), the step, and which groups are folded.
// Every element is made here and filled with text only.
(() => {
const $ = id => document.getElementById(id);
const story = JSON.parse($("story").textContent);
const { steps, formulas } = story;
const nodes = [null, ...story.nodes];
const groups = story.groups || [];
const SVG = "http://www.w3.org/2000/svg", MATH = "http://www.w3.org/1998/Math/MathML";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function element(space, tag, attributes, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, x] of Object.entries(attributes || {})) {
    if (name === "onclick") made.addEventListener("click", x);
    else if (x !== null && x !== undefined && x !== false) made.setAttribute(name, x);
  }
  made.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== ""));
  return made;
}
const h = (tag, attributes, ...children) => element(null, tag, attributes, children);
const s = (tag, attributes, ...children) => element(SVG, tag, attributes, children);
const m = (tag, attributes, ...children) => element(MATH, tag, attributes, children);

// ---- Amounts: a number is text; an array has a shape, and elements or a norm.

const textOf = x => typeof x === "string" ? x : x.norm ? `‖${x.text}‖` : x.text;
const shapeOf = x => typeof x === "string" ? "" : x.shape;
const isNumber = x => typeof x === "string" || (!x.norm && !x.text.startsWith("["));
const isBad = x => /NaN|inf/.test(textOf(x));
const negative = text => text.startsWith("−");

function short(text) {  // four significant digits
  return text.replace(/−?\d[\d.]*(e-?\d+)?/g, found => {
    const x = Number(found.replace("−", "-"));
    if (!Number.isFinite(x) || (Number.isInteger(x) && Math.abs(x) < 1e6)) return found;
    const [mantissa, exponent] = Number(x.toPrecision(4)).toString().split("e");
    return (mantissa + (exponent ? "e" + exponent.replace("+", "") : "")).replace("-", "−");
  });
}

// ---- What happens when.

const computed = nodes.map(() => 0);       // the step at which a value is known
const received = nodes.map(() => []);      // contributions: {step, from, part}
const passed = nodes.map(() => Infinity);  // the step at which a gradient is passed on
let seedStep = steps.length;
steps.forEach((step, i) => {
  step.number = i;
  if (step.phase === "forward") computed[step.node] = i;
  if (step.phase === "seed") { seedStep = i; received[step.node].push({ step: i, from: null, part: { amount: nodes[step.node].grad, total: nodes[step.node].grad } }); }
  if (step.phase === "backward") {
    passed[step.node] = i;
    for (const part of step.parts || []) if (part.amount) received[part.arg].push({ step: i, from: step.node, part });
  }
});
const finished = nodes.map((node, id) => node && received[id].length ? received[id].at(-1).step : Infinity);
const phaseAt = i => i < seedStep ? "forward" : "backward";
const rootName = nodes[story.root].name;
function gradientAt(id, now) {
  const so = received[id].filter(r => r.step <= now);
  return so.length ? so.at(-1).part.total : null;
}

// ---- Formulas: the small part of LaTeX that the table is written in, as MathML.

const FIRST = 0xE000, RESULT = 0xF8FE, COTANGENT = 0xF8FF;
const SIGNS = { cdot: "·", partial: "∂", infty: "∞", top: "⊤", sim: "∼", backslash: "\\", lfloor: "⌊", rfloor: "⌋" };
const letter = text => m("mi", { class: "var", mathvariant: "normal" }, text);
const row = children => children.length === 1 ? children[0] : m("mrow", {}, children);
const operator = (text, more) => m("mo", more, text);
const fenced = child => m("mrow", {}, operator("(", { stretchy: "true" }), child, operator(")", { stretchy: "true" }));

function number(text) {
  return negative(text) ? m("mrow", { class: "negative" }, operator("−", { form: "prefix" }), m("mn", {}, text.slice(1))) : m("mn", {}, text);
}

function brief(name, most) {  // of a path, the end says most
  const chars = [...name];
  if (chars.length <= most) return name;
  return /^…?[\p{L}\d_.]*\.[\p{L}\d_.]*$/u.test(name) ? "…" + chars.slice(1 - most).join("") : chars.slice(0, most - 1).join("") + "…";
}

function nameOf(id, most = 16) {
  const whole = nodes[id].name, name = brief(whole, most), parts = /^([A-Za-z])(\d+)(′*)$/.exec(name);
  const made = parts ? m("msub", {}, letter(parts[1] + parts[3]), m("mn", {}, parts[2]))
    : /^[A-Za-z]′*$/.test(name) ? letter(name) : m("mi", { mathvariant: "normal" }, name);
  const shown = m("mrow", { class: "v", title: (nodes[id].full || whole).slice(0, 300) }, made);
  shown.addEventListener("click", () => select(id, true));
  return shown;
}

function partial(id) {
  return m("mfrac", { class: "partial" }, m("mrow", {}, operator("∂", { form: "prefix" }), nameOf(story.root)), m("mrow", {}, operator("∂", { form: "prefix" }), nameOf(id)));
}

// What stands in a formula for the arguments of a node: their names, or their numbers, or the shapes of arrays.
const WRITERS = {
  names: node => c => c === RESULT ? nameOf(node) : c === COTANGENT ? partial(node) : nameOf(nodes[node].args[c - FIRST]),
  numbers: (node, g) => c => {
    const x = c === RESULT ? nodes[node].data : c === COTANGENT ? g : nodes[nodes[node].args[c - FIRST]].data;
    return isNumber(x) ? number(textOf(x)) : m("mtext", { class: "dims" }, `\u2009${shapeOf(x)}\u2009`);
  },
};

function parsed(latex, write) {
  let at = 0;
  const chars = [...latex];
  function raw() {  // the text of a group, unescaped
    let text = "", depth = 1;
    for (at++; at < chars.length; at++) {
      const c = chars[at];
      if (c === "\\") { const [word, next] = command(at); text += word in SIGNS ? SIGNS[word] : word === "hat" ? "^" : word; at = next - 1; if (word === "hat") at += 3; continue; }
      if (c === "{") depth++;
      if (c === "}" && --depth === 0) { at++; break; }
      text += c;
    }
    return text;
  }
  function command(from) {
    let end = from + 1;
    while (end < chars.length && /[a-z]/i.test(chars[end])) end++;
    if (end === from + 1) return [chars[end], end + 1];
    const word = chars.slice(from + 1, end).join("");
    return [word, chars[end] === " " && word in SIGNS ? end + 1 : end];
  }
  function group() {
    if (chars[at] !== "{") return atom() || m("mrow", {});
    at++;
    const inside = sequence(() => chars[at] === "}");
    at++;
    return row(inside);
  }
  function fence() {
    const c = chars[at] === "\\" ? (([word, next]) => { at = next; return SIGNS[word] || word; })(command(at)) : chars[at++];
    return operator(c, { stretchy: "true", fence: "true" });
  }
  function atom() {
    const c = chars[at], code = c.codePointAt(0);
    if (code >= FIRST && code <= COTANGENT) { at++; return write(code); }
    if (c === "{") return group();
    if (c === "\\") {
      const [word, next] = command(at);
      at = next;
      if (word === "frac") { const over = group(); return m("mfrac", {}, over, group()); }
      if (word === "sqrt") return m("msqrt", {}, group());
      if (word === "left") {
        const open = fence(), inside = sequence(() => chars.slice(at, at + 6).join("") === "\\right");
        at += 6;
        return m("mrow", {}, open, inside, fence());
      }
      if (word === "mathrm" || word === "operatorname") return m("mi", { mathvariant: "normal" }, raw());
      if (word === ",") return m("mspace", { width: "0.25em" });
      if (word in SIGNS) return /[·]/.test(SIGNS[word]) ? operator(SIGNS[word]) : m("mi", {}, SIGNS[word]);
      return /^[a-z]{2,}$/.test(word) ? m("mi", {}, word) : m("mtext", {}, word === " " ? "\u00a0" : word);
    }
    at++;
    if (/\d/.test(c)) {
      let digits = c;
      while (at < chars.length && /[\d.]/.test(chars[at])) digits += chars[at++];
      return m("mn", {}, digits);
    }
    if (/\p{L}|…/u.test(c)) return letter(c);
    return operator(c === "-" ? "−" : c);
  }
  function sequence(ends) {
    const made = [];
    while (at < chars.length && !ends()) {
      const c = chars[at];
      if (c === " ") { at++; continue; }
      if (c === "^" || c === "_") {
        at++;
        let base = made.pop() || m("mrow", {});
        if (base.getAttribute("class") === "negative" || base.localName === "mfrac") base = fenced(base);
        made.push(m(c === "^" ? "msup" : "msub", {}, base, group()));
        continue;
      }
      const next = atom(), last = made.at(-1);
      if (c === "-" && (!last || last.localName === "mo")) next.setAttribute("form", "prefix");
      made.push(next.getAttribute("class") === "negative" && last && last.localName === "mo" && !"(,[".includes(last.textContent) ? fenced(next) : next);
    }
    return made;
  }
  return sequence(() => false);
}

const math = (...children) => m("math", { display: "inline", displaystyle: "true" }, ...children);
function formula(index, node, mode, g) { return row(parsed(formulas[index], WRITERS[mode](node, g))); }
function called(node) {
  const args = nodes[node].args, shown = args.slice(0, 3).flatMap((arg, i) => i ? [operator(","), nameOf(arg)] : [nameOf(arg)]);
  return m("mrow", {}, m("mi", { mathvariant: "normal" }, nodes[node].how.split(" ")[0]), operator("("), shown, args.length > 3 ? [operator(","), m("mi", {}, "…")] : [], operator(")"));
}
function shown(x) {
  if (isNumber(x)) return number(textOf(x));
  return m("mtext", {}, x.norm ? `‖${x.text}‖` : x.text);
}
const times = (a, b) => m("mrow", {}, a, operator("·"), b.getAttribute("class") === "negative" ? fenced(b) : b);

// Rows of an equation; a row that says the same as the one above is left out.
function equation(left, relation, rights) {
  const grid = h("div", { class: "equation" });
  let before = null;
  for (const right of rights.filter(Boolean)) {
    const cell = right instanceof Element && right.namespaceURI === MATH ? math(right) : right;
    if (before !== null && cell.textContent === before) { if (right.last) grid.lastChild.classList.add("result"); continue; }
    grid.append(h("div", { class: "left" }, before === null ? math(left) : ""), math(operator(before === null ? relation : "=")), h("div", {}, cell));
    before = cell.textContent;
  }
  grid.lastChild?.classList.add("result");
  return grid;
}

// ---- Which boxes are shown: nodes, and groups that are folded.

const within = nodes.map(() => []);  // the groups around a node, outermost first
groups.forEach((group, i) => { for (const id of group.members) within[id].push(i); });
const folded = new Set();
const boxOf = id => { const around = within[id].find(i => folded.has(i)); return around === undefined ? `n${id}` : `g${around}`; };
let boxes = new Map();   // key -> box
let stops = [];          // the steps to stop at
let homes = [];          // node -> key of its box

function regroup() {
  homes = nodes.map((node, id) => node ? boxOf(id) : "");
  const found = new Map();
  for (let id = 1; id < nodes.length; id++) {
    const key = homes[id];
    if (!found.has(key)) found.set(key, { key, members: [], group: key[0] === "g" ? groups[+key.slice(1)] : null });
    found.get(key).members.push(id);
  }
  boxes = found;
  stops = [];
  steps.forEach((step, i) => {
    const key = step.node ? homes[step.node] : "", before = i ? steps[i - 1] : null;
    if (key[0] === "g" && before && before.phase === step.phase && before.node && homes[before.node] === key) stops.pop();
    stops.push(i);
  });
}

// ---- Layout: ranks by the longest path, order by barycentres, places by least squares, long edges through dummies.

const pen = document.createElement("canvas").getContext("2d");
const SANS = getComputedStyle(document.documentElement).getPropertyValue("--sans"), SERIF = getComputedStyle(document.documentElement).getPropertyValue("--math");
function width(text, font) { pen.font = font; return pen.measureText(text).width; }
const isSymbol = name => /^[A-Za-z]\d*′*$/.test(name);
const nameWidth = name => isSymbol(name) ? width(name, `italic 17px ${SERIF}`) : width(name, `600 13px ${SANS}`);
const cellWidth = x => x ? Math.max(46, width(short(x.norm ? x.text : textOf(x)), `13px ${SANS}`) + 18) : 46;
const soFar = (x, whole) => short(x.norm ? x.text : textOf(x)) + (whole ? "" : " +…");
function gradWidth(id) {
  const all = received[id].slice(-40).map((r, i, last) => soFar(r.part.total, i === last.length - 1));
  const least = nodes[id].grad?.norm ? width("grad norm", `10.5px ${SANS}`) + 16 : 46;
  return Math.max(least, ...all.map(text => width(text, `13px ${SANS}`) + 18));
}

function measure(box) {
  if (box.group) {
    const many = box.members.filter(id => nodes[id].kind === "result").length, path = box.group.path;
    box.caption = `${path && path !== box.group.title ? path + " · " : ""}${count(many, "operation")}`;
    box.w = Math.max(128, nameWidth(box.group.title) + 44, width(box.caption, `11px ${SANS}`) + 24);
    box.h = 58; box.lead = 0;
    return;
  }
  const node = nodes[box.members[0]];
  box.id = box.members[0];
  if (node.kind === "constant") {
    box.text = isNumber(node.data) ? short(textOf(node.data)) : node.name;
    box.w = Math.max(34, width(box.text, `13px ${SANS}`) + 18, width(shapeOf(node.data), `10.5px ${SANS}`) + 18);
    box.h = isNumber(node.data) ? 26 : 38; box.lead = 0;
    return;
  }
  box.left = cellWidth(node.data); box.right = gradWidth(box.id);
  const head = nameWidth(node.name) + width(shapeOf(node.data), `10.5px ${SANS}`) + 34;
  const stretch = Math.max(0, head - box.left - box.right);
  box.left += stretch / 2; box.right += stretch / 2;
  box.h = 60;
  box.symbol = node.kind === "result" ? node.op : "";
  box.round = box.symbol ? Math.max(30, width(box.symbol, `${[...box.symbol].length > 2 ? 12 : 15}px ${SANS}`) + 14) : 0;
  box.lead = box.symbol ? box.round + 10 : 0;
  box.w = box.lead + box.left + box.right;
}

function connect() {
  const found = new Map();
  for (let id = 1; id < nodes.length; id++) {
    const node = nodes[id];
    (node.args || []).forEach((arg, position) => {
      const from = homes[arg], to = homes[id];
      if (from === to) return;
      const key = boxes.get(to).group ? `${from}>${to}` : `${from}>${to}:${position}`;
      if (!found.has(key)) found.set(key, { from, to, uses: [] });
      found.get(key).uses.push({ arg, id, position, slope: node.slopes ? node.slopes[position] : null });
    });
  }
  return [...found.values()];
}

function layout() {
  const all = [...boxes.values()];
  all.forEach(measure);
  const edges = connect();
  const into = new Map(all.map(box => [box.key, []])), out = new Map(all.map(box => [box.key, []]));
  for (const edge of edges) { into.get(edge.to).push(edge); out.get(edge.from).push(edge); }
  rank(all, into, out);
  const layers = [];
  const place = item => { (layers[item.rank] ||= []).push(item); };
  const trunks = new Map();  // the dummies of a source, shared by all its long edges
  for (const edge of edges) {
    const a = boxes.get(edge.from), b = boxes.get(edge.to);
    edge.a = a; edge.b = b; edge.via = [];
    const trunk = trunks.get(a) || trunks.set(a, []).get(a);
    for (let r = a.rank + 1; r < b.rank; r++) {
      trunk[r] ||= { rank: r, dummy: true, w: 0, h: 6, near: [] };
      edge.via.push(trunk[r]);
    }
  }
  arrange(all, edges, into, place);
  const links = new Map(), seen = new Set();
  const name = new Map(); let counter = 0;
  const link = (p, q, weight) => {
    for (const x of [p, q]) if (!name.has(x)) { name.set(x, counter++); links.set(x, { back: [], on: [] }); }
    const k = name.get(p) * 1e6 + name.get(q);
    if (seen.has(k)) return;
    seen.add(k);
    links.get(p).on.push([q, weight]); links.get(q).back.push([p, weight]);
  };
  for (const edge of edges) {
    const path = [edge.a, ...edge.via, edge.b];
    for (let i = 1; i < path.length; i++) link(path[i - 1], path[i], path[i].dummy && path[i - 1].dummy ? 6 : 1);
  }
  for (const layer of layers) for (const item of layer) if (!links.has(item)) links.set(item, { back: [], on: [] });
  order(layers, links);
  settle(layers, links);
  columns(layers, edges);
  return { all, edges };
}

function rank(all, into, out) {
  const waiting = new Map(all.map(box => [box, new Set(into.get(box.key).map(edge => edge.from)).size]));
  const sequence = [], ready = all.filter(box => waiting.get(box) === 0);
  while (sequence.length < all.length) {
    const box = ready.shift() || all.find(other => waiting.get(other) > 0 && !sequence.includes(other));  // never a cycle, but never hang
    if (sequence.includes(box)) continue;
    sequence.push(box);
    waiting.set(box, -1);
    for (const to of new Set(out.get(box.key).map(edge => edge.to))) {
      const next = boxes.get(to);
      waiting.set(next, waiting.get(next) - 1);
      if (waiting.get(next) === 0) ready.push(next);
    }
  }
  for (const box of sequence) box.rank = Math.max(0, ...into.get(box.key).map(edge => (boxes.get(edge.from).rank ?? -1) + 1));
  for (const box of sequence.toReversed()) {  // as near to where it is used as possible
    const later = out.get(box.key).map(edge => boxes.get(edge.to).rank);
    const held = into.get(box.key).filter(edge => into.get(edge.from).length).length;
    if (later.length && later.length >= held) box.rank = Math.max(box.rank, Math.min(...later) - 1);
  }
  const least = Math.min(...all.map(box => box.rank));
  for (const box of all) box.rank -= least;
}

function arrange(all, edges, into, place) {  // an order that draws a tree without a crossing: arguments in their order
  const done = new Set(), stack = [boxes.get(homes[story.root])];
  const visit = item => { if (!done.has(item)) { done.add(item); place(item); return true; } return false; };
  while (stack.length) {
    const box = stack.pop();
    if (!visit(box)) continue;
    const incoming = into.get(box.key);
    for (const edge of incoming) for (const dummy of edge.via.toReversed()) visit(dummy);
    for (const edge of incoming.toReversed()) stack.push(edge.a);
  }
  for (const box of all) visit(box);
}

function crossings(layers, links) {
  let total = 0;
  for (const layer of layers) layer.forEach((item, i) => { item.at = i; });
  for (const layer of layers) {
    const ends = layer.flatMap(item => links.get(item).on.map(([q]) => q.at).sort((a, b) => a - b));
    if (ends.length > 1500) return 0;
    for (let i = 0; i < ends.length; i++) for (let j = i + 1; j < ends.length; j++) if (ends[i] > ends[j]) total++;
  }
  return total;
}

function order(layers, links) {
  let best = crossings(layers, links), kept = layers.map(layer => [...layer]);
  for (let round = 0; round < 14 && best > 0; round++) {
    const down = round % 2 === 0, sequence = down ? layers.slice(1) : layers.slice(0, -1).toReversed();
    for (const layer of sequence) {
      for (const item of layer) {
        const near = links.get(item)[down ? "back" : "on"];
        item.pull = near.length ? near.reduce((sum, [q]) => sum + q.at, 0) / near.length : item.at;
      }
      layer.sort((a, b) => a.pull - b.pull || a.at - b.at);
      layer.forEach((item, i) => { item.at = i; });
    }
    const now = crossings(layers, links);
    if (now < best) { best = now; kept = layers.map(layer => [...layer]); }
  }
  kept.forEach((layer, i) => { layers[i].splice(0, layers[i].length, ...layer); });
}

function settle(layers, links) {  // least squares in each layer, with room between neighbours: pool adjacent violators
  const gap = (p, q) => (p.h + q.h) / 2 + (p.dummy && q.dummy ? 10 : p.dummy || q.dummy ? 12 : 18);
  for (const layer of layers) { let y = 0; layer.forEach((item, i) => { if (i) y += gap(layer[i - 1], item); item.y = y; }); }
  const fit = (layer, sides) => {
    const offsets = []; let sum = 0;
    layer.forEach((item, i) => { if (i) sum += gap(layer[i - 1], item); offsets.push(sum); });
    const pools = [];
    layer.forEach((item, i) => {
      let weight = 0, pull = 0;
      for (const side of sides) for (const [q, w] of links.get(item)[side]) { weight += w; pull += w * q.y; }
      if (!weight) { weight = 0.01; pull = 0.01 * item.y; }
      pools.push({ weight, mean: pull / weight - offsets[i], count: 1 });
      while (pools.length > 1 && pools.at(-2).mean > pools.at(-1).mean) {
        const b = pools.pop(), a = pools.at(-1);
        a.mean = (a.mean * a.weight + b.mean * b.weight) / (a.weight + b.weight);
        a.weight += b.weight; a.count += b.count;
      }
    });
    let i = 0;
    for (const pool of pools) for (let k = 0; k < pool.count; k++, i++) layer[i].y = pool.mean + offsets[i];
  };
  for (let round = 0; round < 10; round++) {
    for (const layer of layers.slice(1)) fit(layer, ["back"]);
    for (const layer of layers.slice(0, -1).toReversed()) fit(layer, ["on"]);
  }
  for (let round = 0; round < 6; round++) for (const layer of round % 2 ? layers : layers.toReversed()) fit(layer, ["back", "on"]);
}

function columns(layers, edges) {
  let x = 0;
  layers.forEach((layer, r) => {
    const wide = Math.max(...layer.map(item => item.w));
    const entering = edges.filter(edge => edge.b.rank === r).length;
    const slopes = edges.some(edge => edge.b.rank === r && edge.uses.length === 1 && edge.uses[0].slope);
    x += r ? Math.min(150, (slopes ? 74 : 52) + entering * 1.5) : 0;
    // Operations stand in line; what goes in next stands at the right of its column.
    for (const item of layer) { item.left0 = x; item.right0 = x + wide; item.x = item.lead || item.dummy ? x + (item.dummy ? 0 : wide - item.w) : x + wide - item.w; }
    x += wide;
  });
}

// ---- Drawing.

let drawn = { all: [], edges: [] };
function curve(x0, y0, x1, y1) { const dx = Math.max(18, (x1 - x0) / 2); return `C${x0 + dx} ${y0} ${x1 - dx} ${y1} ${x1} ${y1}`; }
const round = x => Math.round(x * 10) / 10;

function route(edge, ports) {
  const { a, b } = edge, [k, n] = ports;
  const twins = edge.twins, spread = twins[1] > 1 ? (twins[0] - (twins[1] - 1) / 2) * 10 : 0;
  let x = round(a.x + a.w), y = round(a.y + spread), path = `M${x} ${y}`;
  for (const dummy of edge.via) {
    path += curve(x, y, round(dummy.left0), round(dummy.y)) + `H${round(dummy.right0)}`;
    x = round(dummy.right0); y = round(dummy.y);
  }
  let endX = b.x, endY = b.y;
  if (b.lead) {
    const angle = n > 1 ? (k / (n - 1) - 0.5) * Math.min(2.1, 0.5 * (n - 1)) : 0;
    const rx = b.round / 2, ry = Math.min(15, rx);
    endX = b.x + rx - (rx + 1) * Math.cos(angle); endY = b.y + (ry + 1) * Math.sin(angle);
  } else if (n > 1) endY = b.y + (k / (n - 1) - 0.5) * Math.min(b.h - 14, 8 * n);
  path += curve(x, y, round(endX), round(endY));
  const dx = Math.max(18, (endX - x) / 2), t = 0.58, u = 1 - t;
  edge.mark = [u ** 3 * x + 3 * u * u * t * (x + dx) + 3 * u * t * t * (endX - dx) + t ** 3 * endX, u ** 3 * y + 3 * u * u * t * y + 3 * u * t * t * endY + t ** 3 * endY + (twins[1] > 1 ? spread : 0)];
  return path;
}

function draw() {
  regroup();
  drawn = layout();
  const ordered = new Map();
  for (const edge of drawn.edges) { const key = edge.to; if (!ordered.has(key)) ordered.set(key, []); ordered.get(key).push(edge); }
  for (const list of ordered.values()) {
    const byHeight = list.map((edge, i) => [edge.via.at(-1)?.y ?? edge.a.y, i, edge]).sort((p, q) => p[0] - q[0] || p[1] - q[1]);
    byHeight.forEach(([, , edge], k) => { edge.port = [k, list.length]; });
    for (const edge of list) { const twins = list.filter(other => other.from === edge.from); edge.twins = [twins.indexOf(edge), twins.length]; }
  }
  const paths = [], labels = [];
  for (const edge of drawn.edges) {
    edge.path = s("path", { class: "edge", d: route(edge, edge.port) });
    paths.push(edge.path);
    edge.state = "";
    edge.label = null;
    const slope = edge.uses.length === 1 && !edge.b.group ? edge.uses[0].slope : null;
    if (slope) {
      edge.label = s("text", { class: "slope", x: round(edge.mark[0]), y: round(edge.mark[1]), visibility: "hidden" }, short(slope));
      labels.push(edge.label);
    }
  }
  $("edges").replaceChildren(...paths);
  $("labels").replaceChildren(...labels);
  $("nodes").replaceChildren(...drawn.all.map(box => box.group ? drawGroup(box) : drawNode(box)));
  for (const box of drawn.all) box.state = "";
  const xs = drawn.all.flatMap(box => [box.x, box.x + box.w]), ys = [...drawn.all.flatMap(box => [box.y - box.h / 2 - 6, box.y + box.h / 2 + 6])];
  drawn.bounds = [Math.min(...xs) - 8, Math.min(...ys) - 8, Math.max(...xs) + 8, Math.max(...ys) + 8];
  const [x0, y0, x1, y1] = drawn.bounds;
  $("canvas").setAttribute("viewBox", `${x0} ${y0} ${x1 - x0} ${y1 - y0}`);
  $("canvas").setAttribute("width", x1 - x0); $("canvas").setAttribute("height", y1 - y0);
  $("slider").max = stops.length - 1;
  const share = stops.findIndex(i => i >= seedStep) / stops.length;
  $("phase-forward").style.width = `${100 * share}%`;
  $("phase-backward").style.width = `${100 * (1 - share)}%`;
}

function nameText(name, x, y, more) {
  const parts = /^([A-Za-z])(\d*)(′*)$/.exec(name);
  if (!parts) return s("text", { class: "name word", x, y, ...more }, name);
  return s("text", { class: "name", x, y, ...more }, parts[1] + parts[3], parts[2] ? s("tspan", { class: "sub", dy: 4 }, parts[2]) : null);
}

function shell(box, kind, ...inside) {
  const made = s("g", { class: `node ${kind}`, transform: `translate(${round(box.x)} ${round(box.y - box.h / 2)})`, tabindex: "-1", role: "button" }, ...inside);
  made.addEventListener("click", () => { if (!moved) { if (box.group) unfold(box); else select(box.id); } });
  made.addEventListener("keydown", event => nodeKey(event, box));
  box.made = made;
  return made;
}

function foldMark(box, x, y, open) {
  const mark = s("g", { class: "foldmark", transform: `translate(${x} ${y})` }, s("title", {}, open ? "Fold" : "Unfold"), s("circle", { r: 8 }), s("path", { d: open ? "M-4 0H4" : "M-4 0H4M0-4V4" }));
  if (open) mark.addEventListener("click", event => { event.stopPropagation(); foldAround(box.id); });
  return mark;
}

function drawNode(box) {
  const node = nodes[box.id];
  if (node.kind === "constant") {
    const plain = isNumber(node.data);
    return shell(box, "constant", s("rect", { class: "card", width: box.w, height: box.h, rx: 8 }),
      plain ? s("text", { class: "value", x: box.w / 2, y: 18 }, box.text) : [nameText(node.name, box.w / 2, 16, { "text-anchor": "middle" }), s("text", { class: "shape", x: box.w / 2, y: 31, "text-anchor": "middle" }, shapeOf(node.data))],
      s("rect", { class: "frame", x: -3, y: -3, width: box.w + 6, height: box.h + 6, rx: 10 }));
  }
  const x = box.lead, w = box.left + box.right, top = 24, bottom = box.h, mid = x + box.left;
  const corner = 8;
  const cells = [
    s("path", { class: "cell left", d: `M${x + 1} ${top}H${mid}V${bottom - 1}H${x + corner}a${corner - 1} ${corner - 1} 0 0 1 ${1 - corner} ${1 - corner}z` }),
    s("path", { class: "cell right", d: `M${mid} ${top}H${x + w - 1}V${bottom - corner}a${corner - 1} ${corner - 1} 0 0 1 ${1 - corner} ${corner - 1}H${mid}z` }),
  ];
  box.value = s("text", { class: `value${isBad(node.data) ? " bad" : ""}`, x: x + box.left / 2, y: 53 });
  box.grad = s("text", { class: `grad${node.grad && isBad(node.grad) ? " bad" : ""}`, x: mid + box.right / 2, y: 53 });
  const norm = y => y && y.norm;
  const operation = box.symbol ? [
    s("path", { class: "link", d: `M${box.round} ${box.h / 2}H${x}` }),
    s("rect", { class: "op", x: 0, y: box.h / 2 - 15, width: box.round, height: 30, rx: 15 }),
    s("text", { class: `symbol${[...box.symbol].length > 2 ? " long" : ""}`, x: box.round / 2, y: box.h / 2 + 1 }, box.symbol),
  ] : [];
  const shape = shapeOf(node.data);
  return shell(box, `${node.kind}${box.id === story.root ? " root" : ""}`, operation,
    s("rect", { class: "card", x, width: w, height: box.h, rx: corner }), cells,
    s("path", { class: "divider", d: `M${x + 1} ${top}H${x + w - 1}M${mid} ${top}V${bottom - 1}` }),
    s("rect", { class: "card outline", x, width: w, height: box.h, rx: corner }),
    nameText(node.name, x + 9, 17), shape ? s("text", { class: "shape", x: x + w - 9, y: 16, "text-anchor": "end" }, shape) : null,
    s("text", { class: "caption", x: x + box.left / 2, y: 36, "text-anchor": "middle" }, norm(node.data) ? "norm" : "value"),
    s("text", { class: "caption", x: mid + box.right / 2, y: 36, "text-anchor": "middle" }, norm(node.grad) ? "grad norm" : "grad"),
    box.value, box.grad,
    s("rect", { class: "frame", x: x - 4, y: -4, width: w + 8, height: box.h + 8, rx: 11 }),
    within[box.id].length ? foldMark(box, x + w - 2, 2, true) : null);
}

function drawGroup(box) {
  const { group, w } = box;
  box.forward = s("rect", { class: "bar forward", x: 10, y: 43, width: 0, height: 4, rx: 2 });
  box.backward = s("rect", { class: "bar backward", x: 10, y: 50, width: 0, height: 4, rx: 2 });
  return shell(box, "group", s("rect", { class: "behind", x: 5, y: 5, width: w, height: box.h, rx: 8 }), s("rect", { class: "card", width: w, height: box.h, rx: 8 }),
    s("text", { class: "name word", x: 10, y: 18 }, group.title), s("text", { class: "caption", x: 10, y: 33 }, box.caption),
    s("rect", { class: "bar", x: 10, y: 43, width: w - 20, height: 4, rx: 2 }), s("rect", { class: "bar", x: 10, y: 50, width: w - 20, height: 4, rx: 2 }),
    box.forward, box.backward,
    s("rect", { class: "frame", x: -4, y: -4, width: w + 8, height: box.h + 8, rx: 11 }), foldMark(box, w - 3, 3, false));
}

// ---- The state of everything at a step.

let now = 0, selected = null;
function touchedAt(i) {  // the steps that a stop stands for
  const at = stops.indexOf(i), from = at > 0 ? stops[at - 1] + 1 : 0;
  return at < 0 ? [steps[i]] : steps.slice(from, i + 1);
}

function show(i, quiet) {
  now = i;
  const run = touchedAt(i), step = steps[i], phase = phaseAt(i);
  const current = new Set(run.map(one => one.node && homes[one.node]).filter(Boolean));
  const lit = new Set(run.map(one => one.node).filter(Boolean));
  const touched = new Set();
  for (const one of run) {
    if (one.phase === "forward") for (const arg of nodes[one.node].args) touched.add(homes[arg]);
    if (one.phase === "backward") for (const part of one.parts || []) if (part.amount) touched.add(homes[part.arg]);
  }
  $("graph").className = phase;
  for (const box of drawn.all) update(box, current, touched);
  for (const edge of drawn.edges) updateEdge(edge, i, phase, run.length && (step.phase === "forward" || step.phase === "backward") ? lit : null);
  const at = stops.indexOf(i);
  $("slider").value = at;
  $("slider").setAttribute("aria-valuetext", `${at + 1} of ${stops.length}: ${plain(step)}`.slice(0, 200));
  $("counter").textContent = `${at + 1} of ${stops.length}`;
  $("back").disabled = $("first").disabled = at <= 0;
  $("next").disabled = $("last").disabled = at >= stops.length - 1;
  describe(run, phase);
  if (!quiet) $("spoken").textContent = playing && +$("speed").value > 1 ? "" : spoken(run, at);
  if (following) focus(run);
  for (const line of document.querySelectorAll("#rows tr[aria-current]")) line.removeAttribute("aria-current");
  if (!$("all").hidden) { const line = $("rows").children[i]; line?.setAttribute("aria-current", "step"); line?.scrollIntoView({ block: "nearest" }); }
}

function update(box, current, touched) {
  let state = "";
  if (current.has(box.key)) state += " now";
  else if (touched.has(box.key)) state += " touched";
  if (box.group) {
    const results = box.members.filter(id => nodes[id].kind === "result");
    const forward = results.filter(id => computed[id] <= now).length, backward = results.filter(id => passed[id] <= now).length;
    if (forward < results.length) state += " pending";
    state += `|${forward}|${backward}`;
    if (state === box.state) return;
    const share = n => results.length ? (box.w - 20) * n / results.length : 0;
    box.forward.setAttribute("width", share(forward)); box.backward.setAttribute("width", share(backward));
    box.made.setAttribute("aria-label", `${box.group.title} ${box.group.path}, folded, ${results.length} operations, ${forward} computed, ${backward} passed back`);
  } else if (nodes[box.id].kind === "constant") {
    if (state === box.state && box.labelled) return;
    box.labelled = true;
    box.made.setAttribute("aria-label", `constant ${nodes[box.id].name}, ${textOf(nodes[box.id].data)}`);
  } else {
    const id = box.id, known = computed[id] <= now, grad = gradientAt(id, now), whole = finished[id] <= now;
    state += known ? " known" : " pending";
    if (grad) state += whole ? " finished" : " partial";
    state += `|${grad ? textOf(grad) : ""}`;
    if (state === box.state) return;
    const node = nodes[id];
    box.value.textContent = known ? short(node.data.norm ? node.data.text : textOf(node.data)) : "";
    box.grad.textContent = grad ? soFar(grad, whole) : "";
    box.made.setAttribute("aria-label", `${node.full ? node.full.slice(0, 60) : node.name}${node.how ? ", " + node.how : ", variable"}: ${known ? "value " + textOf(node.data) : "not computed yet"}${grad ? `, gradient ${textOf(grad)}${whole ? "" : " so far"}` : ""}`);
  }
  box.state = state;
  const fixed = box.made.getAttribute("class").split(" ").filter(word => ["node", "leaf", "result", "constant", "group", "root", "selected", "match"].includes(word));
  box.made.setAttribute("class", fixed.join(" ") + state.split("|")[0]);
}

function updateEdge(edge, i, phase, lit) {
  const forward = edge.uses.some(use => computed[use.id] <= i);
  const flowed = edge.uses.some(use => passed[use.id] <= i && received[use.arg].some(r => r.step === passed[use.id]));
  const on = lit && edge.uses.some(use => lit.has(use.id) && (phase === "forward" || flowed));
  const state = `edge${forward ? "" : " pending"}${flowed ? " flowed" : ""}${on ? ` lit ${phase}` : ""}`;
  if (state === edge.state) return;
  edge.state = state;
  edge.path.setAttribute("class", state);
  if (on && phase === "backward") { edge.path.setAttribute("marker-start", "url(#tip-backward)"); edge.path.removeAttribute("marker-end"); }
  else { edge.path.removeAttribute("marker-start"); edge.path.setAttribute("marker-end", on ? "url(#tip-forward)" : "url(#tip)"); }
  if (edge.label) {
    edge.label.setAttribute("class", on ? "slope lit" : "slope");
    edge.label.setAttribute("visibility", flowed && (on || edge.port[1] <= 6) ? "visible" : "hidden");
  }
}

// ---- The panel, and the sentence that is spoken.

const plain = step => [step.text, ...(step.parts || []).map(part => part.text)].filter(Boolean).join("\n");
const TITLES = { given: "Given", forward: "Forward", seed: "Backward", backward: "Backward", done: "Done" };
function spoken(run, at) {
  const text = run.length > 1 ? `${run.length} operations of ${boxes.get(homes[run[0].node]).group.title}` : plain(run[0]);
  return `Step ${at + 1} of ${stops.length}, ${TITLES[run[0].phase].toLowerCase()}: ${text.slice(0, 500)}`;
}

function describe(run, phase) {
  const step = run.at(-1), at = stops.indexOf(now);
  const kicker = h("p", { class: `kicker ${phase}` }, `${TITLES[step.phase]} · step ${at + 1} of ${stops.length}`);
  const inside = run.length > 1 ? summary(run) : ({ given: opening, forward, seed: seeded, backward, done: closing })[step.phase](step);
  const kept = selected === null ? null : history(selected);
  const held = $("panel").contains(document.activeElement);  // with the keyboard: what had the focus is gone
  $("panel").replaceChildren(kicker, ...[inside].flat(9).filter(Boolean), ...(kept ? [kept] : []));
  if (held) $("panel").focus({ preventScroll: true });
  $("panel").scrollTop = 0;
}

function title(...words) { return h("h2", {}, ...words); }
const symbolOf = id => math(nameOf(id));

function opening() {
  const leaves = nodes.filter(node => node && node.kind === "leaf").length, results = nodes.filter(node => node && node.kind === "result").length;
  return [title("What is given"),
    h("p", {}, `${count(leaves, "variable")} and ${count(results, "operation")}. First the forward pass computes every value, arguments before results. Then the backward pass starts at `, symbolOf(story.root), " and hands each node’s gradient on to its arguments, by the chain rule."),
    valuesTable(false)];
}
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function valuesTable(gradients) {
  const leaves = nodes.map((node, id) => id).filter(id => id && nodes[id].kind === "leaf");
  const rows = leaves.slice(0, 40).map(id => h("tr", {}, h("th", { scope: "row" }, math(nameOf(id, 26))), h("td", {}, textOf(nodes[id].data)), gradients ? h("td", {}, nodes[id].grad ? textOf(nodes[id].grad) : "none") : null, h("td", { class: "quiet" }, shapeOf(nodes[id].data))));
  const head = h("tr", {}, h("th", { scope: "col" }, "variable"), h("th", { scope: "col" }, "value"), gradients ? h("th", { scope: "col" }, "gradient") : null, h("th", { scope: "col" }, nodes.some(node => node && shapeOf(node.data)) ? "shape" : ""));
  return [h("table", { class: "grads" }, h("thead", {}, head), h("tbody", {}, rows)), leaves.length > 40 ? h("p", { class: "quiet" }, `and ${leaves.length - 40} more`) : null];
}

function forward(step) {
  const { node: id } = step, node = nodes[id], y = node.data;
  const symbolic = step.formula === undefined ? called(id) : formula(step.formula, id, "names");
  const numeric = step.formula === undefined ? null : formula(step.formula, id, "numbers");
  const rights = isNumber(y) && node.args.every(arg => isNumber(nodes[arg].data)) ? [symbolic, numeric, shown(y)] : [symbolic];
  const box = h("div", { class: "flow forward" }, equation(nameOf(id), "=", rights));
  if (rights.length === 1) box.append(facts([["shapes", numeric ? shapes(numeric, y) : null], [y.norm ? "norm of the result" : "result", y.norm ? y.text : textOf(y)], ["type", y.dtype || ""]]));
  return [title("Compute ", symbolOf(id)), h("p", { class: "quiet" }, node.how), box, values(id), source(id)];
}
function shapes(numeric, y) { const made = math(numeric); made.append(operator("→"), m("mtext", { class: "dims" }, `\u2009${shapeOf(y) || "number"}\u2009`)); return made; }
function facts(pairs) { return h("dl", { class: "facts" }, pairs.filter(([, x]) => x).map(([name, x]) => [h("dt", {}, name), h("dd", {}, x)])); }
function values(id) {
  const args = [...new Set(nodes[id].args)].filter(arg => shapeOf(nodes[arg].data));
  return args.length ? [h("h3", {}, "computed from"), facts(args.slice(0, 8).map(arg => [symbolOf(arg), `${shapeOf(nodes[arg].data)}, ${nodes[arg].data.norm ? "norm " : ""}${nodes[arg].data.text}`]))] : null;
}
function source(id) { return nodes[id].line ? [h("h3", {}, "from your line"), h("p", { class: "full" }, nodes[id].line)] : null; }

function seeded(step) {
  const g = nodes[step.node].grad;
  return [title("Where the backward pass starts"), h("div", { class: "flow" }, equation(partial(step.node), "=", [shown(received[step.node][0].part.total)])),
    h("p", { class: "quiet" }, g && isNumber(g) && textOf(g) === "1" ? "A change of the result changes the result by just as much." : "The seed that backward was given.")];
}

function backward(step) {
  const id = step.node, g = gradientAt(id, now), parts = step.parts || [];
  return [title("Pass back from ", symbolOf(id)), h("p", { class: "quiet" }, nodes[id].how),
    h("div", { class: "equation" }, h("div", { class: "left" }, math(partial(id))), math(operator("=")), h("div", {}, math(shown(g)), h("span", { class: "quiet" }, "  is finished"))),
    parts.slice(0, 30).map(part => flow(id, part, g)), parts.length > 30 ? h("p", { class: "quiet" }, `and ${parts.length - 30} more arguments; All steps lists them`) : null, source(id)];
}

function flow(id, part, g) {
  const box = h("div", { class: "flow" }, h("h3", {}, "to ", symbolOf(part.arg)));
  if (!part.amount) { box.append(h("p", { class: "quiet" }, "Nothing flows here: there is no derivative.")); return box; }
  const chain = id === story.root ? null : times(partial(id), m("mfrac", {}, m("mrow", {}, operator("∂", { form: "prefix" }), nameOf(id)), m("mrow", {}, operator("∂", { form: "prefix" }), nameOf(part.arg))));
  const rights = [];
  if (part.slope !== undefined) {
    rights.push(times(partial(id), formula(part.slope, id, "names")));
    rights.push(times(shown(g), formula(part.slope, id, "numbers")), times(shown(g), number(part.d)), shown(part.amount));
  } else if (part.rule !== undefined) {
    rights.push(formula(part.rule, id, "names"));
    if (isNumber(part.amount)) rights.push(shown(part.amount));
  } else rights.push(chain || shown(part.amount), isNumber(part.amount) ? shown(part.amount) : null);
  box.append(equation(partial(part.arg), "+=", rights));
  if (!isNumber(part.amount)) box.append(facts([["shapes", part.rule !== undefined ? shapes(formula(part.rule, id, "numbers", g), part.amount) : shapeOf(part.amount)], [part.amount.norm ? "norm" : "elements", part.amount.text]]));
  box.append(...[running(part)].flat().filter(Boolean));
  return box;
}

function running(part) {
  const all = received[part.arg], so = all.slice(0, all.findIndex(r => r.part === part) + 1);
  if (all.length < 2) return null;
  const missing = all.length - so.length;
  const state = missing ? `${count(so.length, "contribution")} of ${all.length} so far` : `all ${all.length} contributions`;
  const sum = so.slice(-5).flatMap((r, i) => { const x = shown(r.part.amount); const y = x.getAttribute("class") === "negative" && i ? fenced(x) : x; return i ? [operator("+"), y] : [y]; });
  const total = m("mrow", { class: "total" }, shown(part.total));
  const rights = isNumber(part.total) && so.length > 1 ? [row([...(so.length > 5 ? [m("mi", {}, "…"), operator("+")] : []), ...sum]), total] : [total];
  return h("div", { class: "sum" }, h("span", { class: "quiet" }, state), equation(partial(part.arg), "=", rights));
}

function closing() {
  return [title("All gradients are known"), h("p", { class: "quiet" }, "What a small change of each variable does to ", symbolOf(story.root), ":"), valuesTable(true)];
}

function summary(run) {
  const box = boxes.get(homes[run[0].node]);
  return [title(box.group.title, " ", h("span", { class: "quiet" }, box.group.path !== box.group.title ? box.group.path : "")),
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => unfold(box) }, "Unfold to watch each")),
    h("ul", { class: "history" }, run.slice(0, 24).map(step => h("li", {}, h("button", { type: "button", onclick: () => { unfold(box); go(step.number); } }, plain(step))))),
    run.length > 24 ? h("p", { class: "quiet" }, `and ${run.length - 24} more`) : null];
}

function history(id) {
  const node = nodes[id], around = within[id].map(i => groups[i]);
  const lines = [];
  const line = (i, text) => lines.push(h("li", { class: i > now ? "later" : null }, h("button", { type: "button", "aria-current": i === now ? "step" : null, onclick: () => go(i) }, h("b", {}, `${i + 1}`), text)));
  if (node.kind !== "result") line(0, `${node.kind === "constant" ? "constant" : "given"}: ${node.name} = ${textOf(node.data)}`);
  const touching = steps.filter(step => step.node === id || (step.phase === "forward" && nodes[step.node].args.includes(id)) || (step.parts || []).some(part => part.arg === id));
  for (const step of touching.slice(0, 200)) line(step.number, step.node === id ? plain(step) : step.phase === "forward" ? `used: ${step.text}` : step.parts.filter(part => part.arg === id).map(part => part.text).join("\n"));
  const grad = gradientAt(id, now);
  return h("section", { id: "selected", "aria-label": "The selected node" },
    h("div", { class: "row" }, h("h2", {}, "History of ", symbolOf(id)), h("button", { type: "button", "aria-label": "Close the history", onclick: () => select(null) }, "×")),
    node.full ? h("p", { class: "full" }, node.full) : null,
    facts([["operation", node.how], ["value", computed[id] <= now ? `${node.data.norm ? "norm " : ""}${node.data.text || textOf(node.data)}` : "not computed yet"],
      ["gradient", node.kind === "constant" ? "" : grad ? `${grad.norm ? "norm " : ""}${grad.text || textOf(grad)}${finished[id] <= now ? "" : " so far"}` : "none yet"], ["shape", shapeOf(node.data)], ["type", node.data.dtype],
      ["part of", around.map(group => group.path && group.path !== group.title ? `${group.title} ${group.path}` : group.title).join(" › ")]]),
    source(id), around.length ? h("button", { type: "button", onclick: () => foldAround(id) }, `Fold ${around.at(-1).title}`) : null,
    h("ul", { class: "history" }, lines));
}

// ---- Selecting, folding, searching.

function select(id, reveal) {
  if (selected !== null) boxes.get(homes[selected])?.made.classList.remove("selected");
  selected = id;
  if (id !== null) {
    const box = boxes.get(homes[id]);
    box.made.classList.add("selected");
    if (reveal) centre([box]);
  }
  describe(touchedAt(now), phaseAt(now));
  if (id !== null) $("selected")?.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
}

function refold(anchor) {
  const before = anchor && boxes.get(anchor), held = drawn.all.find(box => box.made === document.activeElement)?.members[0];
  draw();
  rove(boxes.get(homes[held ?? story.root]));
  if (held) boxes.get(homes[held]).made.focus();
  const stop = stops.find(i => i >= now) ?? stops.at(-1);
  if (selected !== null && homes[selected][0] === "g") selected = null;
  show(stop, true);
  if (selected !== null) boxes.get(homes[selected]).made.classList.add("selected");
  $("fold").textContent = folded.size ? "Unfold all" : "Fold all";
  search();
  if (before) $("spoken").textContent = `${boxes.size} boxes are shown.`;
  if (!following) fit(); else focus(touchedAt(now));
}
function unfold(box) { folded.delete(groups.indexOf(box.group)); refold(box.key); }
function foldAround(id) { const open = within[id].filter(i => !folded.has(i)); if (open.length) { folded.add(open.at(-1)); refold(`n${id}`); } }
function foldKey() {
  const id = selected ?? touchedAt(now).at(-1).node;
  const box = id ? boxes.get(homes[id]) : null;
  if (box && box.group) unfold(box);
  else if (id && within[id].length) foldAround(id);
  else foldAll();
}
function foldAll() {
  if (!groups.length) return;
  if (folded.size) folded.clear(); else foldLevel();
  refold("all");
}

// Fold what is outermost, then open modules that hold modules, the largest first, for as long as few boxes are shown.
const parents = groups.map((group, i) => { const around = within[group.members[0]]; return around[around.indexOf(i) - 1] ?? -1; });
function foldLevel() {
  groups.forEach((group, i) => { if (parents[i] < 0) folded.add(i); });
  const shown = () => new Set(nodes.map((node, id) => node ? boxOf(id) : "")).size;
  const inside = new Set(parents);
  for (;;) {
    const next = [...folded].filter(i => inside.has(i)).sort((a, b) => groups[b].members.length - groups[a].members.length);
    const opened = next.find(i => {
      const children = groups.map((group, k) => k).filter(k => parents[k] === i);
      folded.delete(i); children.forEach(k => folded.add(k));
      if (shown() <= 60) return true;
      folded.add(i); children.forEach(k => folded.delete(k));
      return false;
    });
    if (opened === undefined) return;
  }
}

let matches = [], turn = -1;
function search() {
  const text = $("search").value.trim().toLowerCase();
  for (const box of drawn.all) box.made.classList.remove("match");
  matches = text ? nodes.map((node, id) => id).filter(id => id && [nodes[id].name, nodes[id].full || "", nodes[id].how || "", ...within[id].map(i => groups[i].path)].some(word => word.toLowerCase().includes(text))) : [];
  for (const id of matches) boxes.get(homes[id]).made.classList.add("match");
  $("found").textContent = text ? `${turn >= 0 && turn < matches.length ? `${turn + 1}/` : ""}${matches.length}` : "";
}
function searchNext(by) {
  if (!matches.length) return;
  turn = (turn + by + matches.length) % matches.length;
  following = false; pressed();
  const id = matches[turn];
  if (homes[id][0] === "g") centre([boxes.get(homes[id])]); else select(id, true);
  search();
}

// ---- The camera.

let view = { x: 0, y: 0, k: 1 }, following = true, moved = false;
const canvas = $("canvas"), stage = $("stage");
let extent = [800, 500], settling = 0;
const size = () => extent;
function measureStage() { extent = [stage.clientWidth || 800, stage.clientHeight || 500]; }
// The picture as a whole is moved, which the browser does without painting it anew; a new scale is painted when it rests.
function aim(x, y, k, still) {
  if (k !== view.k) { clearTimeout(settling); settling = setTimeout(sharpen, 450); }
  view = { x, y, k };
  stage.classList.toggle("still", Boolean(still));
  canvas.style.transform = `translate(${x + k * drawn.bounds[0]}px, ${y + k * drawn.bounds[1]}px) scale(${k})`;
}
function sharpen() {
  canvas.style.willChange = "auto";
  requestAnimationFrame(() => requestAnimationFrame(() => { canvas.style.willChange = ""; }));
}
function frame(x0, y0, x1, y1, most, least) {
  const [w, high] = size(), k = Math.max(least, Math.min(most, (w - 24) / (x1 - x0), (high - 44) / (y1 - y0)));
  return [(w - k * (x0 + x1)) / 2, (high - 22 - k * (y0 + y1)) / 2, k];
}
function fit(still) { aim(...frame(...drawn.bounds, 1.35, 0.02), still); }
function centre(list) {
  const xs = list.flatMap(box => [box.x, box.x + box.w]), ys = list.flatMap(box => [box.y - box.h / 2, box.y + box.h / 2]);
  aim(...frame(Math.min(...xs) - 40, Math.min(...ys) - 40, Math.max(...xs) + 40, Math.max(...ys) + 40, Math.min(1.1, Math.max(view.k, 0.8)), 0.5));
}
function focus(run) {
  const whole = frame(...drawn.bounds, 1.35, 0.02);
  if (whole[2] >= 0.66) { aim(...whole); return; }
  const step = run.at(-1);
  const near = new Set(run.flatMap(one => one.node ? [one.node, ...nodes[one.node].args] : []).map(id => homes[id]));
  if (!near.size) { if (step.phase === "given" || step.phase === "done") { aim(...whole); return; } near.add(homes[story.root]); }
  let list = [...near].map(key => boxes.get(key));
  const main = boxes.get(homes[step.node || story.root]);
  const wide = (x => Math.max(...x.map(b => b.x + b.w)) - Math.min(...x.map(b => b.x)))(list) * 0.62 > size()[0];
  const tall = (x => Math.max(...x.map(b => b.y)) - Math.min(...x.map(b => b.y)))(list) * 0.62 > size()[1];
  if (wide || tall) list = [main, ...list.filter(box => Math.abs(box.y - main.y) < size()[1] * 0.6 && main.x - box.x < size()[0])];
  let span = spanOf(list);
  if (0.55 * (span[2] - span[0]) > size()[0] || 0.55 * (span[3] - span[1]) > size()[1] - 44) span = spanOf([main]);
  if (!inSight(...span)) aim(...frame(...span, inScale(...span) ? view.k : 1, 0.55));
}
function spanOf(list) {
  const xs = list.flatMap(box => [box.x, box.x + box.w]), ys = list.flatMap(box => [box.y - box.h / 2, box.y + box.h / 2]);
  return [Math.min(...xs) - 30, Math.min(...ys) - 30, Math.max(...xs) + 30, Math.max(...ys) + 30];
}
// What can be read where it is stays there, and the scale is kept while all that matters fits.
function inScale(x0, y0, x1, y1) { const [w, high] = size(); return view.k >= 0.55 && view.k <= 1 && view.k * (x1 - x0) <= w && view.k * (y1 - y0) <= high - 44; }
function inSight(x0, y0, x1, y1) {
  const [w, high] = size(), { x, y, k } = view;
  return inScale(x0, y0, x1, y1) && x + k * x0 >= 0 && x + k * x1 <= w && y + k * y0 >= 0 && y + k * y1 <= high - 44;
}
function pressed() { $("follow").setAttribute("aria-pressed", String(following)); }
function zoom(by, x, y) {
  const [w, high] = size(), k = Math.max(0.03, Math.min(4, view.k * by));
  x ??= w / 2; y ??= high / 2;
  following = false; pressed();
  aim(x - (x - view.x) * k / view.k, y - (y - view.y) * k / view.k, k, true);
}
stage.addEventListener("wheel", event => {
  event.preventDefault();
  const at = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016) * (event.ctrlKey ? 4 : 1)), event.clientX - at.left, event.clientY - at.top);
}, { passive: false });
const fingers = new Map();
stage.addEventListener("pointerdown", event => { fingers.set(event.pointerId, [event.clientX, event.clientY]); moved = false; });
stage.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const here = [event.clientX, event.clientY];
  if (fingers.size === 1) {
    if (!moved && Math.hypot(here[0] - before[0], here[1] - before[1]) < 5) return;
    if (!moved) { moved = true; stage.classList.add("dragging"); stage.setPointerCapture(event.pointerId); }
    following = false; pressed();
    aim(view.x + here[0] - before[0], view.y + here[1] - before[1], view.k, true);
  } else {
    moved = true;
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1], at = stage.getBoundingClientRect();
    const span = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]) || 1;
    zoom(span(here, other) / span(before, other), (here[0] + other[0]) / 2 - at.left, (here[1] + other[1]) / 2 - at.top);
  }
  fingers.set(event.pointerId, here);
});
for (const kind of ["pointerup", "pointercancel", "pointerleave"]) stage.addEventListener(kind, event => { fingers.delete(event.pointerId); if (!fingers.size) stage.classList.remove("dragging"); });

// ---- Playing.

let playing = false, timer = 0;
function go(i) { pause(); show(stops.includes(i) ? i : stops.find(stop => stop >= i) ?? stops.at(-1)); }
function move(by) { const at = stops.indexOf(now) + by; if (at >= 0 && at < stops.length) show(stops[at]); }
function pause() { playing = false; clearTimeout(timer); delete $("play").dataset.playing; $("play").setAttribute("aria-label", "Play"); }
function tick() {
  if (now === stops.at(-1)) { pause(); return; }
  move(1);
  timer = setTimeout(tick, 1800 / $("speed").value);
}
function play() {
  if (playing) { pause(); return; }
  if (now === stops.at(-1)) show(stops[0]);
  playing = true;
  $("play").dataset.playing = "";
  $("play").setAttribute("aria-label", "Pause");
  timer = setTimeout(tick, 500 / $("speed").value);
}

// ---- Controls and keys.

const click = (id, act) => $(id).addEventListener("click", act);
click("first", () => go(stops[0])); click("last", () => go(stops.at(-1)));
click("back", () => { pause(); move(-1); }); click("next", () => { pause(); move(1); });
click("play", play);
click("in", () => zoom(1.3)); click("out", () => zoom(1 / 1.3));
click("fit", () => { following = false; pressed(); fit(); });
click("follow", () => { following = !following; pressed(); if (following) focus(touchedAt(now)); });
click("fold", foldAll);
click("help", () => $("keys").showModal());
click("list", () => { $("all").hidden = !$("all").hidden; $("list").setAttribute("aria-expanded", String(!$("all").hidden)); show(now, true); });
$("slider").addEventListener("input", () => { pause(); show(stops[+$("slider").value]); });
$("search").addEventListener("input", () => { turn = -1; search(); });
$("search").addEventListener("keydown", event => {
  if (event.key === "Enter") { event.preventDefault(); searchNext(event.shiftKey ? -1 : 1); }
  if (event.key === "Escape") { $("search").value = ""; search(); $("search").blur(); }
});
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = null;
function themed() { document.documentElement.dataset.theme = theme || (dark.matches ? "dark" : "light"); }
click("theme", () => { theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; themed(); });
dark.addEventListener("change", themed);
themed();

function nodeKey(event, box) {
  if (event.key === "Enter" || (event.key === " " && !playing)) { event.preventDefault(); event.stopPropagation(); if (box.group) unfold(box); else select(box.id); }
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault(); event.stopPropagation();
    const list = drawn.all, at = (list.indexOf(box) + (event.key === "ArrowDown" ? 1 : -1) + list.length) % list.length;
    rove(list[at]); list[at].made.focus();
    following = false; pressed(); centre([list[at]]);
  }
}
function rove(box) { for (const other of drawn.all) other.made.setAttribute("tabindex", other === box ? "0" : "-1"); }

const KEYS = {
  " ": play, ArrowRight: () => { pause(); move(1); }, ArrowLeft: () => { pause(); move(-1); },
  Home: () => go(stops[0]), End: () => go(stops.at(-1)), f: foldKey, F: foldAll,
  "/": () => { $("search").focus(); $("search").select(); }, "?": () => $("keys").showModal(),
  "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: () => { following = false; pressed(); fit(); }, c: () => $("follow").click(),
  Escape: () => select(null),
  ArrowDown: () => { const box = boxes.get(homes[touchedAt(now).at(-1).node || story.root]); rove(box); box.made.focus(); },
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const { target } = event;
  if (target.matches("input[type=search], select") || (target.matches("input") && event.key !== " ") || (target.matches("button") && (event.key === " " || event.key === "Enter"))) return;
  if (event.key in KEYS) { event.preventDefault(); KEYS[event.key](); }
});

// ---- Printing: the whole graph in its final state, all values, and the table of steps.

let before = null;
addEventListener("beforeprint", () => {
  before = { now, view };
  pause(); show(stops.at(-1), true);
});
addEventListener("afterprint", () => {
  show(before.now, true); aim(before.view.x, before.view.y, before.view.k, true);
});

// ---- Start.

function table() {
  $("rows").replaceChildren(...steps.map((step, i) => h("tr", {}, h("td", {}, `${i + 1}`), h("td", {}, { given: "given", forward: "forward", seed: "backward", backward: "backward", done: "done" }[step.phase]), h("td", {}, plain(step)))));
}
function start() {
  if (groups.length) {
    $("fold").hidden = false;
    if (nodes.length > 90) foldLevel();
    $("fold").textContent = folded.size ? "Unfold all" : "Fold all";
  }
  measureStage();
  table();
  draw();
  rove(drawn.all[0]);
  const wanted = /^#(?:step=)?(\d+)$/.exec(location.hash);
  show(stops[0], true);
  if (wanted) go(Math.min(steps.length, Math.max(1, +wanted[1])) - 1);
  stage.classList.add("still");
  new ResizeObserver(() => { measureStage(); if (following) focus(touchedAt(now)); }).observe(stage);
}
start();
})();

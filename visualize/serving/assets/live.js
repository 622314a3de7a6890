// Shows what training sends, and sends back what is pressed. Text is only ever set as text; of a picture only the
// elements and attributes that a drawing needs are taken over.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 250, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 34;
const SHAPES = new Set(["svg", "g", "path", "polygon", "polyline", "ellipse", "text"]);
const ATTRIBUTES = new Set(["width", "height", "viewBox", "transform", "d", "points", "cx", "cy", "rx", "ry", "x", "y", "fill",
  "stroke", "stroke-width", "stroke-dasharray", "text-anchor", "font-family", "font-size", "font-weight"]);
const SAID = { connecting: "connecting", running: "running", pausing: "pausing after this step", paused: "paused",
  ended: "training has ended", lost: "connection lost, trying again" };

const $ = id => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)"), theme = () => dark.matches ? "dark" : "light";
let state = null, status = "connecting", over = false, events = null, seen = -1, asking = false;

function make(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(name === "svg" ? SVG : parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

// Connection

function connect() {
  events = new EventSource("events");
  events.onmessage = message => {
    state = JSON.parse(message.data);
    show(state.status);
    if (state.status === "ended") { over = state.over; events.close(); }
  };
  events.onerror = () => { if (status !== "ended") show("lost"); };
}

async function tell(command) {
  try {
    await fetch(command, { method: "POST" });
  } catch {
    show("lost");
  }
}

async function keepDrawing() {
  if (asking) return;
  asking = true;
  while (wanted()) {
    try {
      const reply = await (await fetch(`${theme()}?${seen}`)).json();
      over ||= reply.over;
      if (reply.step !== seen) drawGraph(reply);
      else if (status === "ended") break;
    } catch {
      if (wanted()) await new Promise(later => setTimeout(later, 2000));
    }
  }
  asking = false;
}

const wanted = () => $("graph-shown").checked && !document.hidden && !over && status !== "lost" && status !== "connecting";

// What is shown

function show(now) {
  status = now;
  const chip = $("status");
  if (chip.textContent !== SAID[now]) chip.textContent = SAID[now];
  chip.dataset.status = now;
  const held = now === "paused" || now === "pausing";
  $("pause").disabled = !(held || now === "running");
  $("pause").textContent = held ? "Resume" : "Pause";
  $("step").disabled = now !== "paused";
  if (!state) return;
  document.title = `${state.title}: step ${state.step.toLocaleString("en")}`;
  $("title").textContent = $("title").title = state.title;
  if ($("note").textContent !== state.note) $("note").textContent = state.note;
  $("note").hidden = !state.note;
  if (document.hidden) return;
  showTiles(state.tiles);
  chart($("losses"), [{ name: "training", ...state.losses }, { name: "validation", ...state.validation }], "loss", $("loss-log").checked);
  chart($("gradients"), state.gradients, "gradient norm", $("gradients-log").checked);
  showWeights(state.weights);
  keepDrawing();
}

function showTiles(tiles) {
  const list = $("tiles");
  tiles.forEach((tile, i) => {
    const box = list.children[i] || make(list, "div");
    const name = box.children[0] || make(box, "dt"), number = box.children[1] || make(box, "dd");
    name.textContent = name.title = tile.name;
    number.textContent = tile.finite ? tile.text : `⚠ ${tile.text}`;
    number.classList.toggle("bad", !tile.finite);
  });
  while (list.children.length > tiles.length) list.lastChild.remove();
}

const short = x => x === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? x.toExponential(0).replace("e+", "e") : String(+x.toPrecision(5));

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step + 0);
  return found;
}

function powers(low, high) {
  const first = Math.ceil(low - 1e-9), last = Math.floor(high + 1e-9), every = Math.max(1, Math.ceil((last - first + 1) / 6));
  const found = [];
  for (let e = first; e <= last; e += every) found.push(e);
  if (found.length > 1) return found;
  const between = [first - 1, first].flatMap(e => [1, 2, 5].map(k => e + Math.log10(k))).filter(y => y >= low && y <= high);
  return between.length > 1 ? between : ticks(low, high, 3);
}

function chart(place, lines, what, logarithmic) {
  lines = lines.filter(line => line.steps.length);
  const width = Math.max(240, place.clientWidth);
  const height = y => y === null || (logarithmic && y <= 0) ? null : logarithmic ? Math.log10(y) : y;
  const heights = lines.flatMap(line => line.values.map(height)).filter(y => y !== null);
  if (!heights.length) {
    place.replaceChildren();
    make(place, "p", { class: "nothing" }, lines.length ? "nothing that can be drawn: not finite, or zero" : "nothing measured yet");
    return;
  }
  let low = heights.reduce((a, b) => Math.min(a, b)), high = heights.reduce((a, b) => Math.max(a, b));
  if (!logarithmic && low > 0 && low < high / 2) low = 0;
  const size = Math.max(Math.abs(low), Math.abs(high), logarithmic ? 1 : 0);
  const margin = high - low > 1e-3 * size ? 0.05 * (high - low) : 0.1 * size || 0.5;  // no rounding errors, enlarged
  if (low !== 0 || logarithmic) low -= margin;
  high += margin;
  const end = lines.reduce((most, line) => Math.max(most, line.steps.at(-1)), 1);
  const x = step => LEFT + (width - LEFT - RIGHT) * step / end;
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
  const now = lines.map(line => `${line.name} ${line.values.at(-1) === null ? "not finite" : short(line.values.at(-1))}`).join(", ");
  place.replaceChildren();
  const svg = make(place, "svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${what} over ${end} steps, now: ${now}` });
  for (const tick of logarithmic ? powers(low, high) : ticks(low, high, 5)) {
    make(svg, "path", { class: "axis", d: `M${LEFT} ${y(tick)}H${width - RIGHT}` });
    make(svg, "text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, short(logarithmic ? 10 ** tick : tick));
  }
  for (const tick of ticks(0, end, 5)) {
    make(svg, "text", { x: x(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": x(tick) > width - 30 ? "end" : "middle" }, tick.toLocaleString("en"));
  }
  make(svg, "text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, "step");
  lines.forEach((line, i) => {
    let d = "", pen = "M";
    line.values.forEach((value, k) => {
      const h = height(value);
      if (h === null) { pen = "M"; return; }
      d += `${pen}${x(line.steps[k]).toFixed(1)} ${y(h).toFixed(1)}`;
      if (pen === "M") d += "h.01";
      pen = "L";
    });
    make(svg, "path", { class: `c${i % 8}`, d, "stroke-linecap": "round" });
  });
  if (lines.length < 2) return;
  const legend = make(place, "ul", { class: "legend" });
  lines.forEach((line, i) => {
    const item = make(legend, "li");
    make(make(item, "svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }), "path", { class: `c${i % 8}`, d: "M0 4H28" });
    make(item, "span", { title: line.name }, line.name);
  });
}

function showWeights(parts) {
  const place = $("weights");
  parts.forEach((part, i) => {
    const card = place.children[i] || newCard(place);
    const [heading, facts, histogram, range, images] = card.children;
    heading.textContent = heading.title = part.name;
    facts.textContent = `${part.finite ? "" : "⚠ not finite: "}${part.shape ? part.shape + ", " : ""}norm ${part.norm}, gradient ${part.grad}`;
    facts.classList.toggle("bad", !part.finite);
    showHistogram(histogram, part);
    range.children[0].textContent = part.low;
    range.children[1].textContent = part.high;
    if (part.pixels) showImages(images, part);
  });
  while (place.children.length > parts.length) place.lastChild.remove();
  if (!parts.length && !place.textContent) make(place, "p", { class: "nothing" }, "the model has no parameters");
}

function newCard(place) {
  const card = make(place, "article");
  make(card, "h3");
  make(card, "p");
  make(card, "svg", { role: "img", preserveAspectRatio: "none" });
  const range = make(card, "div", { class: "range" });
  make(range, "span");
  make(range, "span");
  make(card, "div", { class: "images", role: "img" });
  return card;
}

function showHistogram(svg, part) {
  const most = Math.max(1, ...part.counts);
  svg.setAttribute("viewBox", `0 0 ${part.counts.length} 1`);
  svg.setAttribute("aria-label", `histogram of ${part.name}, from ${part.low} to ${part.high}`);
  part.counts.forEach((count, i) => {
    const bar = svg.children[i] || make(svg, "rect", { width: 0.9 });
    bar.setAttribute("x", i + 0.05);
    bar.setAttribute("height", count / most);
    bar.setAttribute("y", 1 - count / most);
  });
  while (svg.children.length > part.counts.length) svg.lastChild.remove();
}

const colour = name => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const full = hex.length === 3 ? [...hex].map(c => c + c).join("") : hex;
  return [0, 2, 4].map(k => parseInt(full.slice(k, k + 2), 16));
};

function showImages(place, part) {
  const [count, rows, columns] = part.size;
  const bytes = Uint8Array.from(atob(part.pixels), c => c.charCodeAt(0));
  const [negative, zero, positive, hole] = ["--negative", "--zero", "--positive", "--hole"].map(colour);
  const scale = Math.max(1, Math.min(14, Math.floor((count > 1 ? 56 : 224) / Math.max(rows, columns))));
  place.setAttribute("aria-label", `${part.name} as ${count > 1 ? count + " images" : "an image"}, largest |weight| ${part.largest}`);
  for (let n = 0; n < count; n++) {
    const canvas = place.children[n] || make(place, "canvas");
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.width = `${columns * scale}px`;
    canvas.style.aspectRatio = `${columns} / ${rows}`;
    const brush = canvas.getContext("2d"), image = brush.createImageData(columns, rows);
    for (let k = 0; k < rows * columns; k++) {
      const byte = bytes[n * rows * columns + k], share = Math.abs(byte - 128) / 127, end = byte < 128 ? negative : positive;
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = byte ? zero[c] + (end[c] - zero[c]) * share : hole[c];
      image.data[4 * k + 3] = 255;
    }
    brush.putImageData(image, 0, 0);
  }
  while (place.children.length > count) place.lastChild.remove();
}

// The graph

function drawGraph(reply) {
  seen = reply.step;
  const place = $("graph"), drawn = reply.svg ? new DOMParser().parseFromString(reply.svg, "image/svg+xml").documentElement : null;
  place.hidden = !(drawn && drawn.localName === "svg");
  if (!place.hidden) {
    const [x, y] = [place.scrollLeft, place.scrollTop];
    place.replaceChildren();
    copy(drawn, place);
    place.firstChild.setAttribute("role", "img");
    place.firstChild.setAttribute("aria-label", `graph of the loss at step ${reply.step}`);
    place.scrollTo(x, y);
  }
  $("graph-note").textContent = reply.problem || `at step ${reply.step.toLocaleString("en")}`;
}

function copy(from, to) {
  const link = from.localName === "a";  // Graphviz writes a tooltip as a link
  if (!link && !SHAPES.has(from.localName)) return;
  const element = document.createElementNS(SVG, link ? "g" : from.localName);
  for (const { name, value } of from.attributes) if (ATTRIBUTES.has(name)) element.setAttribute(name, value);
  to.append(element);
  const hint = link && from.getAttribute("xlink:title");
  if (hint) make(element, "title", {}, hint);
  for (const child of from.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) element.append(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE) copy(child, element);
  }
}

// Controls

const toggle = () => tell($("pause").textContent === "Pause" ? "pause" : "resume");
$("pause").onclick = toggle;
$("step").onclick = () => tell("step");
$("loss-log").onchange = $("gradients-log").onchange = () => show(status);
$("graph-fit").onchange = () => $("graph").classList.toggle("fit", $("graph-fit").checked);
$("graph-shown").onchange = () => {
  $("graph").hidden = !$("graph-shown").checked || !$("graph").firstChild;
  $("graph-note").hidden = !$("graph-shown").checked;
  keepDrawing();
};
onresize = () => show(status);
document.onvisibilitychange = () => { if (!document.hidden) show(status); };
dark.onchange = () => { seen = -1; show(status); };
document.onkeydown = press => {
  if (press.ctrlKey || press.metaKey || press.altKey || press.repeat) return;
  const button = { p: $("pause"), s: $("step") }[press.key];
  if (button && !button.disabled) button.click();
};
$("graph-fit").checked = innerWidth > 640;
$("graph-fit").onchange();
connect();

// Curves over time as SVG, drawn at the size they have, so that letters stay readable on a phone.

const MARGIN = { left: 40, right: 22, top: 8, bottom: 20 };
const LABEL_ROW = 17;
const NARROW = 420; // CSS pixels, as on a phone
const plotHeight = (width) => (width < NARROW ? 140 : 178);

function element(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// Round values that cover a range, at most `count` steps.
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => ({ at: (first + i) * step, text: ((first + i) * step).toFixed(digits).replace("-", "−") }));
}

// The time axis that all plots share: seconds, or frames where the source has no times.
const axis = {
  values: study.times ? times.map((time) => time / 1000) : study.frames.map((_, index) => index + 1),
  unit: study.times ? "s" : "frame",
};

function across(width) {
  const first = axis.values[0], last = axis.values[numFrames - 1];
  const room = width - MARGIN.left - MARGIN.right;
  return (value) => MARGIN.left + (last > first ? ((value - first) / (last - first)) * room : room / 2);
}

function nearestFrame(svg, event) {
  const place = across(svg.clientWidth), x = event.clientX - svg.getBoundingClientRect().left;
  let best = 0;
  axis.values.forEach((value, index) => {
    if (Math.abs(place(value) - x) < Math.abs(place(axis.values[best]) - x)) best = index;
  });
  return best;
}

function drawLine(values, x, y) {
  let data = "", isOpen = false;
  values.forEach((value, index) => {
    if (value !== null) data += `${isOpen ? "L" : "M"}${x(axis.values[index]).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = value !== null;
  });
  return data;
}

// What people err by, above and below a line, over each of its runs without a gap.
function drawBand(values, half, x, y) {
  const at = (index, sign) => `${x(axis.values[index]).toFixed(1)} ${y(values[index] + sign * half).toFixed(1)}`;
  let data = "", run = [];
  values.forEach((value, index) => {
    if (value !== null) run.push(index);
    if (run.length && (value === null || index === values.length - 1)) {
      const points = [...run.map((i) => at(i, 1)), ...run.toReversed().map((i) => at(i, -1))];
      data += `M${points.join("L")}z`;
      run = [];
    }
  });
  return data;
}

function drawEvents(svg, x, height) {
  for (const { frame } of study.events) {
    const at = x(axis.values[frame]);
    element("line", { class: "event", x1: at, x2: at, y1: 0, y2: height }, svg);
  }
}

// Frames with bolus in the airway, as bands behind the curves, half a frame wider than each run.
function drawReview(svg, x, top, bottom) {
  const isIn = (frame) => study.airway.includes(frame);
  for (const first of study.airway.filter((frame) => !isIn(frame - 1))) {
    let last = first;
    while (isIn(last + 1)) last += 1;
    const edge = (frame, next) => (x(axis.values[frame]) + x(axis.values[Math.min(numFrames - 1, Math.max(0, next))])) / 2;
    const from = edge(first, first - 1), to = edge(last, last + 1);
    element("rect", { class: "review", x: from, width: Math.max(3, to - from), y: top, height: bottom - top }, svg);
  }
}

function drawPlot(figure) {
  const svg = figure.querySelector(":scope > svg"), width = svg.clientWidth;
  const keys = [...figure.querySelectorAll(".key")], lines = study.plots[figure.dataset.plot];
  const bands = study.bands[figure.dataset.plot].map((band) => band || 0);
  const known = lines.flatMap((values, line) => values.filter((value) => value !== null).flatMap((value) => [value - bands[line], value + bands[line]]));
  const low = Math.min(...(figure.dataset.plot === "hyoid" ? known : [0])), high = Math.max(...known);
  const rows = ticks(low, high > low ? high : low + 1, 4);
  const height = plotHeight(width), bottom = height - MARGIN.bottom, x = across(width);
  const y = (value) => bottom - ((value - rows[0].at) / (rows.at(-1).at - rows[0].at)) * (bottom - MARGIN.top);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (figure.dataset.plot === "bolus") drawReview(svg, x, MARGIN.top, bottom);
  for (const { at, text } of rows) {
    element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(at), y2: y(at) }, svg);
    element("text", { x: MARGIN.left - 6, y: y(at) + 4, "text-anchor": "end" }, svg, text);
  }
  drawTimes(svg, x, width, height);
  drawEvents(svg, x, bottom);
  const parts = lines.map((values, line) => {
    const style = keys[line].getAttribute("style");
    if (bands[line]) element("path", { class: "band", d: drawBand(values, bands[line], x, y), style }, svg);
    element("path", { class: "curve", d: drawLine(values, x, y), "stroke-dasharray": keys[line].dataset.dash, style }, svg);
    return { values, style, y, output: keys[line].querySelector("output"), code: keys[line].dataset.code };
  });
  labelEnds(svg, parts, width - MARGIN.right + 6, bottom);
  const cursor = element("line", { class: "cursor", y1: 0, y2: bottom }, svg);
  const dots = parts.map(({ style }) => element("circle", { class: "dot", r: 4, style }, svg));
  return (index) => {
    const at = x(axis.values[index]);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    parts.forEach(({ values, output }, line) => {
      const value = values[index];
      dots[line].toggleAttribute("hidden", value === null);
      dots[line].style.display = value === null ? "none" : "";
      if (value !== null) Object.entries({ cx: at, cy: y(value) }).forEach(([k, v]) => dots[line].setAttribute(k, v));
      output.textContent = value === null ? "–" : value.toFixed(1).replace("-", "−");
    });
  };
}

function drawTimes(svg, x, width, height) {
  const last = axis.values[numFrames - 1];
  for (const { at, text } of ticks(axis.values[0], last, width < NARROW ? 4 : 8)) {
    if (at < axis.values[0] || at > last || (axis.unit === "frame" && at % 1)) continue;
    element("text", { x: x(at), y: height - 4, "text-anchor": "middle" }, svg, `${text}${axis.unit === "s" ? " s" : ""}`);
  }
}

// Letters at the right end of each line, moved apart from the lowest one up.
function labelEnds(svg, parts, x, bottom) {
  const ends = parts.map(({ values, y, code, style }) => ({ code, style, y: y(values.findLast((v) => v !== null) ?? 0) }));
  let room = bottom;
  for (const { code, style, y } of ends.sort((one, other) => other.y - one.y)) {
    const at = Math.min(y, room);
    element("text", { class: "code", x, y: at + 4, style }, svg, code);
    room = at - 12;
  }
}

// Names of the events above the plots, in as many rows as they need.
function drawEventNames(holder) {
  holder.replaceChildren();
  if (!study.events.length) return () => {};
  const svg = element("svg", { role: "img", "aria-label": "Events" }, holder), width = holder.clientWidth, x = across(width);
  const taken = []; // right end of each row
  const names = study.events.map(({ label, frame }) => {
    const at = x(axis.values[frame]), name = element("text", { class: "label" }, svg, label);
    const length = name.getComputedTextLength() * 1.07, toTheLeft = at + length + 4 > width;
    const start = toTheLeft ? at - length - 4 : at + 4;
    let row = taken.findIndex((end) => end < Math.min(start, at));
    if (row < 0) row = taken.length;
    taken[row] = Math.max(at, start + length) + 6;
    return { name, at, start, row, frame };
  });
  const height = taken.length * LABEL_ROW + 2;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const { name, at, start, row } of names) {
    name.setAttribute("x", start);
    name.setAttribute("y", row * LABEL_ROW + 13);
    svg.prepend(element("line", { class: "event", x1: at, x2: at, y1: row * LABEL_ROW + 2, y2: height }));
  }
  const cursor = element("line", { class: "cursor", y1: 0, y2: height });
  svg.prepend(cursor);
  return (index) => {
    const at = x(axis.values[index]);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    for (const { name, frame } of names) name.classList.toggle("now", frame === index);
  };
}

// The hyoid's path: forward to the right, up is up, one scale for both.
function drawPath(svg) {
  const [forward, up] = study.plots.hyoid, key = document.querySelector('[data-plot="hyoid"] .key');
  const width = svg.clientWidth, height = Math.round(0.8 * width), known = forward.map((value, index) => index).filter((index) => forward[index] !== null);
  const inner = { left: 40, right: width - 10, top: 10, bottom: height - 40 };
  const range = (values) => [Math.min(...known.map((i) => values[i])), Math.max(...known.map((i) => values[i]))];
  const middle = ([low, high]) => (low + high) / 2;
  const extent = (values) => Math.max(5, 1.2 * (range(values)[1] - range(values)[0]));
  const pixels = Math.min((inner.right - inner.left) / extent(forward), (inner.bottom - inner.top) / extent(up)); // per %
  const x = (value) => middle([inner.left, inner.right]) + (value - middle(range(forward))) * pixels;
  const y = (value) => middle([inner.bottom, inner.top]) - (value - middle(range(up))) * pixels;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const within = (place, values, [low, high]) => values.filter(({ at }) => place(at) >= low - 0.5 && place(at) <= high + 0.5);
  const around = (values, room) => {
    const center = middle(range(values)), half = room / pixels / 2;
    return ticks(center - half, center + half, 4);
  };
  for (const { at, text } of within(x, around(forward, inner.right - inner.left), [inner.left, inner.right])) {
    element("line", { class: "grid", x1: x(at), x2: x(at), y1: inner.top, y2: inner.bottom }, svg);
    element("text", { x: x(at), y: inner.bottom + 16, "text-anchor": "middle" }, svg, text);
  }
  for (const { at, text } of within(y, around(up, inner.bottom - inner.top), [inner.top, inner.bottom])) {
    element("line", { class: "grid", x1: inner.left, x2: inner.right, y1: y(at), y2: y(at) }, svg);
    element("text", { x: inner.left - 6, y: y(at) + 4, "text-anchor": "end" }, svg, text);
  }
  element("text", { x: inner.right, y: height - 6, "text-anchor": "end" }, svg, "forward of C4 →");
  element("text", { x: inner.left + 4, y: inner.top + 10 }, svg, "↑ above C4");
  const style = key.getAttribute("style"), points = known.map((i) => `${x(forward[i]).toFixed(1)} ${y(up[i]).toFixed(1)}`);
  element("path", { class: "curve whole", d: `M${points.join("L")}`, style }, svg);
  for (const i of known) element("circle", { class: "dot", cx: x(forward[i]), cy: y(up[i]), r: 2.5, style }, svg);
  const named = []; // rows of names: what would cover another one is left out
  for (const { label, frame } of study.events.filter((event) => event.label.startsWith("Hyoid") && forward[event.frame] !== null)) {
    if (named.some((other) => Math.abs(other - y(up[frame])) < 14)) continue;
    named.push(y(up[frame]));
    const toTheLeft = x(forward[frame]) > (inner.left + inner.right) / 2;
    element("text", { class: "name", x: x(forward[frame]) + (toTheLeft ? -9 : 9), y: y(up[frame]) + 4, "text-anchor": toTheLeft ? "end" : "start" }, svg, label);
  }
  const now = element("circle", { class: "now", r: 6.5 }, svg);
  return (index) => {
    now.style.display = forward[index] === null ? "none" : "";
    if (forward[index] !== null) Object.entries({ cx: x(forward[index]), cy: y(up[index]) }).forEach(([k, v]) => now.setAttribute(k, v));
  };
}

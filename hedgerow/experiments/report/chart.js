// Draws the figures of a report as SVG, on the page and for a PNG file alike. It needs nothing else.
"use strict";

const DASHES = ["", "7 5", "2 4", "8 4 2 4"], FONT = "system-ui, sans-serif", LETTER = 6.9;

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function add(parent, name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function say(parent, x, y, text, more) {
  return add(parent, "text", {x, y, "font-size": 13, "font-family": FONT, fill: colourOf("faint"), ...more}, text);
}

function shortened(text, most) {
  return text.length <= most ? text : text.slice(0, Math.max(most - 1, 1)) + "…";
}

function sheet(width, height, title) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": true}))
    svg.setAttribute(key, value);
  if (title) {
    add(svg, "rect", {width, height, fill: colourOf("card")});
    say(svg, 12, 26, title, {"font-size": 17, "font-weight": 600, fill: colourOf("ink")});
  }
  return svg;
}

function scale(axis, from, to) {
  const of = axis.log ? Math.log : (value) => value, low = of(axis.low), high = of(axis.high);
  return (value) => from + (to - from) * (of(Math.max(value, axis.log ? axis.low / 1e9 : -Infinity)) - low) / (high - low || 1);
}

// Labels at the right, moved apart until each has a line to itself; those that do not fit are left out.
function spread(places, gap, low, high) {
  const order = places.map((_, k) => k).sort((a, b) => places[a] - places[b]);
  const moved = places.slice();
  for (let k = 0; k < order.length; k++)
    moved[order[k]] = Math.max(places[order[k]], k ? moved[order[k - 1]] + gap : low);
  for (let k = order.length - 1, most = high; k >= 0; k--, most -= gap)
    moved[order[k]] = Math.min(moved[order[k]], most);
  return moved;
}

// Returns the SVG and the points that a pointer or a key can be at: {x, y, mark, at}.
function chart(figure, width, height, title) {
  const top = title ? 44 : 12, foot = 46, narrow = width < 560;
  const longest = Math.max(...figure.marks.map((m) => m.label.length));
  const labelled = figure.labels && !narrow && figure.marks.length <= 14;
  const right = labelled ? Math.min(Math.round(longest * LETTER) + 22, Math.round(width * 0.4)) : 16;
  const legend = title && !labelled ? figure.marks.length * 20 + 8 : 0;
  const svg = sheet(width, height + legend, title);
  const box = {left: 54, right: width - right, top, bottom: height - foot};
  const x = scale(figure.x, box.left, box.right), y = scale(figure.y, box.bottom, box.top);
  axes(svg, figure, box, x, y);
  const clip = "c" + Math.random().toString(36).slice(2);
  add(add(add(svg, "defs", {}), "clipPath", {id: clip}), "rect",
    {x: box.left, y: box.top - 4, width: box.right - box.left, height: box.bottom - box.top + 8});
  const inside = add(svg, "g", {"clip-path": `url(#${clip})`});
  if (figure.front) frontOf(inside, figure.front, box, x, y);
  const points = [];
  figure.marks.forEach((mark, k) => drawMark(inside, mark, k, x, y, points, figure.marks.length > 8));
  if (labelled) labels(svg, figure.marks, box, x, y);
  for (const chosen of figure.chosen || []) choice(svg, chosen, box, x, y);
  if (legend) figure.marks.forEach((mark, k) => {
    add(svg, "rect", {x: 54, y: height + 20 * k, width: 11, height: 11, rx: 3, fill: colourOf("c" + mark.colour)});
    say(svg, 72, height + 10 + 20 * k, mark.label);
  });
  return {svg, points: points.filter((p) => p.x >= box.left - 1 && p.x <= box.right + 1 && p.y >= box.top - 5 && p.y <= box.bottom + 5)};
}

function axes(svg, figure, box, x, y) {
  const grid = colourOf("grid");
  for (const [value, text] of figure.y.ticks) {
    add(svg, "line", {x1: box.left, x2: box.right, y1: y(value), y2: y(value), stroke: grid});
    say(svg, box.left - 8, y(value) + 4, text, {"text-anchor": "end"});
  }
  let last = -Infinity;
  for (const [value, text] of figure.x.ticks) {
    const place = x(value), half = text.length * LETTER / 2;
    add(svg, "line", {x1: place, x2: place, y1: box.top, y2: box.bottom, stroke: grid});
    if (place - half < last + 8 || place + half > box.right + 16) continue;
    say(svg, place, box.bottom + 18, text, {"text-anchor": "middle"});
    last = place + half;
  }
  say(svg, (box.left + box.right) / 2, box.bottom + 38, figure.x.title, {"text-anchor": "middle"});
}

function frontOf(parent, [across, up], box, x, y) {
  if (!across.length) return;
  let path = `M${x(across[0])} ${box.bottom + 20}`;
  across.forEach((value, k) => { path += `H${x(value)}V${y(up[k])}`; });
  add(parent, "path", {d: path + `H${box.right}`, fill: "none", stroke: colourOf("front"), "stroke-width": 9, "stroke-linejoin": "round"});
}

function drawMark(parent, mark, number, x, y, points, many) {
  const colour = colourOf("c" + mark.colour), group = add(parent, "g", {"data-mark": number});
  const line = (xs, ys) => xs.map((value, k) => `${k ? "L" : "M"}${x(value).toFixed(1)} ${y(ys[k]).toFixed(1)}`).join("");
  if (mark.low && !mark.bars)
    add(group, "path", {d: line([...mark.x, ...mark.x.slice().reverse()], [...mark.high, ...mark.low.slice().reverse()]) + "Z",
      fill: colour, "fill-opacity": many ? 0.07 : 0.15});
  if (mark.line) add(group, "path", {d: line(mark.x, mark.y), fill: "none", stroke: colour, "stroke-width": mark.end ? 1.6 : 2.4,
    "stroke-opacity": mark.end ? (many ? 0.35 : 0.6) : 1, "stroke-dasharray": DASHES[mark.dash], "stroke-linejoin": "round"});
  mark.x.forEach((value, k) => {
    const place = {x: x(value), y: y(mark.y[k]), mark: number, at: k};
    points.push(place);
    if (mark.bars) bar(group, place.x, y(mark.low[k]), y(mark.high[k]), colour);
    if (mark.points) add(group, "circle", {cx: place.x, cy: place.y, r: 4.5, fill: colour});
  });
  if (mark.end) drawEnd(group, mark.end, colour, x, y);
}

function drawEnd(group, end, colour, x, y) {
  const place = x(end.x);
  if (end.low !== undefined) bar(group, place, y(end.low), y(end.high), colour);
  if (end.seeds.length > 1)
    for (const seed of end.seeds) add(group, "circle", {cx: place, cy: y(seed), r: 2.5, fill: "none", stroke: colour, "stroke-opacity": 0.7});
  add(group, "circle", {cx: place, cy: y(end.y), r: 5.5, fill: colour, stroke: colourOf("card"), "stroke-width": 1.5});
}

function bar(group, place, low, high, colour) {
  add(group, "path", {d: `M${place} ${low}V${high}M${place - 5} ${low}h10M${place - 5} ${high}h10`, stroke: colour, "stroke-width": 1.4, fill: "none"});
}

function labels(svg, marks, box, x, y) {
  const ends = marks.map((m) => y(m.y[m.y.length - 1]));
  const places = spread(ends, 17, box.top, box.bottom), most = Math.floor((svg.getAttribute("width") - box.right - 18) / LETTER);
  marks.forEach((mark, k) => {
    const colour = colourOf("c" + mark.colour);
    add(svg, "line", {x1: x(mark.x[mark.x.length - 1]), y1: ends[k], x2: box.right + 6, y2: places[k], stroke: colour, "stroke-opacity": 0.5});
    say(svg, box.right + 9, places[k] + 4, shortened(mark.label, most), {fill: colour});
  });
}

// The way to choose: a ring around where it ends, and its name.
function choice(svg, chosen, box, x, y) {
  const place = x(chosen.x), height = y(chosen.y), left = place > (box.left + box.right) / 2;
  const room = (left ? place - box.left : box.right - place) - 20;
  add(svg, "circle", {cx: place, cy: height, r: 11, fill: "none", stroke: colourOf("accent"), "stroke-width": 2.5});
  const name = say(svg, place + (left ? -17 : 17), height - 13, shortened(chosen.label, Math.floor(room / 7.4)),
    {"text-anchor": left ? "end" : "start", "font-weight": 700, fill: colourOf("ink")});
  for (const [key, value] of Object.entries({stroke: colourOf("card"), "stroke-width": 4, "paint-order": "stroke"})) name.setAttribute(key, value);
}

function mixed(share) {
  const stops = [0, 1, 2, 3, 4].map((k) => colourOf("heat" + k)), place = Math.min(Math.floor(share * 4), 3), part = share * 4 - place;
  const parts = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));
  const [one, other] = [parts(stops[place]), parts(stops[place + 1])];
  return `rgb(${one.map((value, k) => Math.round(value + part * (other[k] - value))).join(",")})`;
}

function heat(figure, width, height, title) {
  const LEVELS = 16, svg = sheet(width, height, title), rows = figure.rows.length, columns = figure.columns.length;
  const left = Math.min(Math.max(...figure.rows.map((r) => r.length)) * LETTER + 14, width * 0.3), top = title ? 44 : 6;
  const across = (width - left - 10) / columns, down = (height - top - 44) / rows, gap = Math.min(1, across / 6), paths = [];
  const points = [];
  figure.cells.forEach((row, r) => row.forEach((value, c) => {
    const level = value ? Math.max(1, Math.round(value / figure.most * LEVELS)) : 0;
    const x = left + c * across, y = top + r * down;
    paths[level] = (paths[level] || "") + `M${x.toFixed(2)} ${y.toFixed(2)}h${(across - gap).toFixed(2)}v${(down - gap).toFixed(2)}h${(gap - across).toFixed(2)}z`;
    points.push({x: x + across / 2, y: y + down / 2, mark: r, at: c});
  }));
  paths.forEach((path, level) => add(svg, "path", {d: path, fill: mixed(level / LEVELS)}));
  figure.rows.forEach((name, r) => {
    if (down >= 11 || r % Math.ceil(11 / down) === 0)
      say(svg, left - 8, top + (r + 0.5) * down + 4, shortened(name, Math.floor((left - 8) / LETTER)), {"text-anchor": "end"});
  });
  say(svg, width / 2, height - 10, `clients; the fullest cell has ${figure.most} ${figure.unit}`, {"text-anchor": "middle"});
  return {svg, points};
}

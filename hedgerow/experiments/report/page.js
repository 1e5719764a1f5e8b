// What a report does: draws its figures at the width of the page, tells of points, and saves pictures.
"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const TALL = {front: 330, rounds: 420};

function amount(value, unit) {
  if (unit === "round") return `round ${value}`;
  if (unit === "%") return `${(100 * value).toFixed(1)} %`;
  if (unit !== "B") return `${Number(value.toPrecision(3))} ${unit}`.trim();
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 999.5 && place < 4) { value /= 1000; place++; }
  return `${Number(value.toPrecision(3))} ${units[place]}`;
}

function textOf(figure, {mark, at}) {
  if (figure.cells) return [`${figure.columns[at]}`, `${figure.rows[mark]}: ${figure.cells[mark][at]} ${figure.unit}`];
  const found = figure.marks[mark], x = amount(found.x[at], figure.x.unit);
  let y = amount(found.y[at], "%");
  if (found.low) y += ` (${amount(found.low[at], "%")} to ${amount(found.high[at], "%")})`;
  if (found.end && at === found.x.length - 1) {
    const {low, high, seeds} = found.end;
    if (low !== undefined) y += `, 95 % t interval ${amount(low, "%")} to ${amount(high, "%")}`;
    else if (seeds.length > 1) y += `, seeds ${seeds.map((s) => amount(s, "%")).join(", ")}`;
  }
  return [found.label, `${x}: ${y}`];
}

function draw(place) {
  const figure = figures[place.dataset.figure], width = Math.max(place.clientWidth, 240);
  const rows = figure.cells ? Math.min(60 + 24 * figure.rows.length, 900) : TALL[place.dataset.size] || 380;
  const made = (figure.cells ? heat : chart)(figure, width, width < 560 && !figure.cells ? 300 : rows);
  place.querySelector("svg")?.remove();
  place.prepend(made.svg);
  place.points = made.points;
  hide(place);
}

function hide(place) {
  place.now = null;
  place.querySelector(".tip").hidden = true;
  place.querySelector(".ring")?.remove();
  for (const mark of place.querySelectorAll("[data-mark]")) mark.style.opacity = "";
}

function show(place, point) {
  const figure = figures[place.dataset.figure], tip = place.querySelector(".tip"), svg = place.querySelector("svg");
  hide(place);
  place.now = point;
  const [name, text] = textOf(figure, point);
  tip.replaceChildren(Object.assign(document.createElement("strong"), {textContent: name}), text);
  tip.hidden = false;
  const left = Math.min(Math.max(point.x - tip.offsetWidth / 2, 0), place.clientWidth - tip.offsetWidth);
  const above = point.y - tip.offsetHeight - 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${above < 0 ? point.y + 16 : above}px`;
  if (figure.cells) return;
  add(svg, "circle", {class: "ring", cx: point.x, cy: point.y, r: 7, fill: "none", stroke: colourOf("ink"), "stroke-width": 2});
  for (const mark of place.querySelectorAll("[data-mark]"))
    if (Number(mark.dataset.mark) !== point.mark) mark.style.opacity = 0.3;
}

function nearest(points, x, y, most) {
  let found = null, best = most * most;
  for (const point of points) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < best) { best = distance; found = point; }
  }
  return found;
}

// Arrow keys: along a curve, and from one curve to the next.
function step(place, key) {
  const {points, now} = place, side = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
  if (!now) return points.reduce((a, b) => (b.mark < a.mark || (b.mark === a.mark && b.at > a.at) ? b : a), points[0]);
  if (side) return points.find((p) => p.mark === now.mark && p.at === now.at + side) || now;
  const marks = [...new Set(points.map((p) => p.mark))], count = marks.length;
  const other = marks[(marks.indexOf(now.mark) + (key === "ArrowDown" ? 1 : count - 1)) % count];
  const there = points.filter((p) => p.mark === other);
  return there.reduce((a, b) => (Math.abs(b.x - now.x) < Math.abs(a.x - now.x) ? b : a), there[0]);
}

function listen(place) {
  place.addEventListener("pointermove", (event) => {
    const box = place.getBoundingClientRect();
    const point = nearest(place.points, event.clientX - box.left, event.clientY - box.top, 40);
    if (point) show(place, point); else hide(place);
  });
  place.addEventListener("pointerleave", () => hide(place));
  place.addEventListener("blur", () => hide(place));
  place.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide(place);
    if (!event.key.startsWith("Arrow") || !place.points.length) return;
    event.preventDefault();
    show(place, step(place, event.key));
  });
}

// The same drawing, larger and with its title and legend, as a PNG file at twice its size.
function picture(name) {
  const figure = figures[name], height = figure.cells ? Math.min(110 + 24 * figure.rows.length, 900) : 520;
  const {svg} = (figure.cells ? heat : chart)(figure, 1000, height, figure.title);
  const [width, tall] = [svg.getAttribute("width"), svg.getAttribute("height")].map(Number);
  const image = new Image();
  return new Promise((done, failed) => {
    image.onerror = failed;
    image.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 2 * width, height: 2 * tall});
      const context = canvas.getContext("2d");
      context.scale(2, 2);
      context.drawImage(image, 0, 0);
      canvas.toBlob(done, "image/png");
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(svg));
  });
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const places = [...document.querySelectorAll("[data-figure]")];
for (const place of places) {
  listen(place);
  new ResizeObserver(() => { if (place.clientWidth !== place.drawn) { place.drawn = place.clientWidth; draw(place); } }).observe(place);
}
for (const button of document.querySelectorAll("[data-picture]"))
  button.addEventListener("click", async () => save(await picture(button.dataset.picture), `${button.dataset.picture}.png`));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => places.forEach(draw));

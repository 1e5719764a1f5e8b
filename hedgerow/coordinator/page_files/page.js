"use strict";
// Anything that comes from devices is inserted as text, never as markup.
const at = (id) => document.getElementById(id);
const put = (id, text) => { at(id).textContent = text; };
const made = (tag, kind, ...parts) => {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...parts.map((part) => (part instanceof Node ? part : String(part))));
  return element;
};
const show = (id, text) => { put(id, text || ""); at(id).hidden = !text; };
const bytes = (count) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; count >= 999.5 && place < 4; place++) count /= 1000;
  return `${place ? Number(count.toPrecision(3)) : count} ${units[place]}`;
};
const isNumber = (value) => Number.isFinite(value);
const figure = (value) => (isNumber(value) ? value.toFixed(3) : "-");
const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 5);
const since = (seconds) => {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  return passed < 90 ? `${Math.round(passed)} s` : passed < 5400 ? `${Math.round(passed / 60)} min` : `${Math.round(passed / 3600)} h`;
};

// Devices' measurements take precedence over the server's.
function measured(line, name) {
  const found = line.client_evaluation && line.client_evaluation.metrics[name];
  if (found && found.mean === undefined) return { mean: found.weighted_mean, devices: line.client_evaluation.clients };
  return found ? { mean: found.mean, spread: found.spread, worst: found.worst_tenth, devices: found.clients }
    : { mean: line.evaluation[name] };
}
function metric(rounds) {
  const names = rounds.flatMap((line) => [
    ...Object.keys(line.evaluation), ...Object.keys((line.client_evaluation || { metrics: {} }).metrics)]);
  return names.includes("accuracy") ? "accuracy" : names.sort()[0] || "accuracy";
}

function curve(rounds, name) {
  const points = rounds.map((line) => ({ round: line.round, ...measured(line, name) })).filter((p) => isNumber(p.mean));
  const wide = points.filter((p) => isNumber(p.spread));
  const values = points.flatMap((p) => [p.mean, ...(isNumber(p.spread) ? [p.mean - p.spread, p.mean + p.spread, p.worst] : [])]);
  let low = Math.min(...values), high = Math.max(...values);
  if (name === "accuracy") { low = Math.max(0, low); high = Math.min(1, high); }
  const first = points.length ? points[0].round : 0, last = points.length ? points[points.length - 1].round : 0;
  const x = (p) => 100 * (last > first ? (p.round - first) / (last - first) : 0.5);
  const y = (value) => 97 - 94 * (Math.min(high, Math.max(low, value)) - low) / (high - low || 1);
  const drawn = (tag, kind, list) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
    shape.setAttribute("points", list.join(" "));
    if (kind) shape.setAttribute("class", kind);
    return shape;
  };
  const shapes = [];
  if (wide.length > 1) {
    const edge = (sign) => wide.map((p) => `${x(p)},${y(p.mean + sign * p.spread)}`);
    shapes.push(drawn("polygon", "", [...edge(1), ...edge(-1).reverse()]));
    shapes.push(drawn("polyline", "worst", wide.map((p) => `${x(p)},${y(p.worst)}`)));
  }
  const line = points.map((p) => `${x(p)},${y(p.mean)}`);
  shapes.push(drawn("polyline", "", line.length === 1 ? [`0,${y(points[0].mean)}`, `100,${y(points[0].mean)}`] : line));
  at("curve").replaceChildren(...shapes);
  const [top, bottom] = at("scale").children;
  top.textContent = points.length ? figure(high) : "";
  bottom.textContent = points.length ? figure(low) : "";
  put("legend", !points.length ? "nothing measured yet" : `rounds ${first} to ${last}` +
    (wide.length ? "; line: mean over devices, band: spread, dashes: worst tenth"
      : points.some((p) => p.devices) ? "; measured on devices, under a mask: the mean over samples alone"
        : "; measured on the server"));
  put("curve-title", `Model: ${name}`);
  return points[points.length - 1];
}

function devices(now) {
  const told = now.devices.some((each) => each.bytes_up !== undefined);
  const scored = now.devices.some((each) => each.score);
  const name = metric(now.done);
  const heads = ["device", ...(told ? ["count", "up", "down"] : []), ...(scored ? ["score"] : [])];
  at("devices-head").replaceChildren(made("tr", "", ...heads.map((text) => made("th", "", text))));
  at("devices").replaceChildren(...now.devices.map((each) => {
    const lost = each.heard !== null;
    const dot = made("span", "dot", each.state === "online" ? "●" : "○");
    dot.setAttribute("aria-hidden", "true");
    const state = lost ? `no word for ${since(each.heard)}` : each.state === "online" ? "" : each.state;
    const first = made("td", "", dot, each.name, ...(state ? [made("small", "", state)] : []));
    return made("tr", lost ? "lost" : each.state, first,
      ...(told ? [`${each.counted}/${each.asked}`, bytes(each.bytes_up), bytes(each.bytes_down)].map((text) => made("td", "", text)) : []),
      ...(scored ? [made("td", "", each.score ? figure(each.score[name]) : "-")] : []));
  }));
}

function phones(now) {
  const { joined, places, ends } = now.phones;
  at("phones").hidden = !places && !joined;
  const last = places ? new Date(ends * 1000).toLocaleString() : "";
  put("places", `${joined} joined${places ? `, ${places} more can until ${last}${now.code ? "" : ", by a code that was shown elsewhere"}` : ""}`);
  const code = at("code");
  if (now.code && !code.src) code.src = `phones.svg?token=${encodeURIComponent(token)}`;
  code.hidden = !now.code;
}

let current = null;
function draw() {
  const now = current, rounds = now.done, last = rounds[rounds.length - 1], name = metric(rounds);
  put("name", now.name);
  put("address", now.address);
  document.title = `${now.health.level === "bad" ? "✗ " : ""}${now.name} - Hedgerow`;
  put("health", now.health.text);
  at("health").className = now.health.level;
  put("round", `${last ? last.round : 0} of ${now.rounds || "-"}`);
  at("progress").value = now.rounds && last ? last.round / now.rounds : 0;
  const point = curve(rounds, name);
  put("score-name", `${name}${point && point.devices ? ` on ${point.devices} devices` : ""}`);
  put("score", point ? figure(point.mean) : "-");
  show("spread", point && isNumber(point.spread) ? `± ${figure(point.spread)}, worst tenth ${figure(point.worst)}` : "");
  const states = now.states, joined = (states.online || 0) + (states.away || 0);
  put("online", `${states.online || 0} of ${Math.max(joined, now.wanted)}`);
  show("others", states.invited ? `${states.invited} invited` : "");
  for (const way of ["up", "down"]) {
    put(way, bytes(now.totals[`bytes_${way}`]));
    show(`${way}-round`, last ? `${bytes(last[`bytes_${way}`])} in round ${last.round}` : "");
  }
  const spent = last && last.epsilon;
  at("epsilon-box").hidden = !isNumber(spent);
  if (isNumber(spent)) put("epsilon", spent.toFixed(2));
  put("current", last ? `round ${last.round}${last.secure ? `, ${last.secure}` : ""}` : "not trained yet");
  const promoted = now.promoted;
  put("promoted", promoted ? `${promoted.recipe}, round ${promoted.round} (${promoted.model.slice(0, 12)})` : "none");
  show("gathering", now.gathering);
  devices(now);
  phones(now);
  show("aside", now.set_aside.length ? `set aside after bad replies: ${now.set_aside.join(", ")}` : "");
  at("private").hidden = !now.protected;
  put("register", now.register.trust === "signed"
    ? `identities: version ${now.register.version}, signed` : "identities: trusted on first use, not signed");
  const dropped = [...rounds].reverse().flatMap((line) => [
    ...(line.failed ? [made("li", "failed", `round ${line.round} changed nothing: ${line.failed}`)] : []),
    ...Object.entries(line.dropped).map(([who, why]) => made("li", "", `round ${line.round}: ${who}: ${why}`)),
  ]).slice(0, 50);
  at("dropped").replaceChildren(...(dropped.length ? dropped : [made("li", "", "nobody")]));
  at("rounds").replaceChildren(...[...rounds].reverse().slice(0, 30).map((line) => {
    const count = line.asked - Object.keys(line.dropped).length;
    return made("tr", line.failed ? "failed" : "", ...[line.round, figure(measured(line, name).mean), `${count}/${line.asked}`,
      bytes(line.bytes_up), bytes(line.bytes_down), line.seconds.toFixed(1)].map((text) => made("td", "", text)));
  }));
  at("log").replaceChildren(...now.log.map((each) => made("li", "", made("time", "", clock(each.at)), each.text)));
}

const token = new URLSearchParams(location.search).get("token");
const stream = new EventSource(`events?token=${encodeURIComponent(token)}`);
stream.onmessage = (event) => { current = JSON.parse(event.data); draw(); };
stream.onerror = () => {
  put("health", stream.readyState === EventSource.CLOSED
    ? "this address is no longer valid: 'hedgerow up' has printed a new one" : "the coordinator does not answer; trying again");
  at("health").className = "bad";
};
setInterval(() => { if (current && stream.readyState === EventSource.OPEN) draw(); }, 5000);

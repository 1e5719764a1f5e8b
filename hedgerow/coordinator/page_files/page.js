"use strict";
// Whatever comes from devices is put in as text, never as markup.
const at = (id) => document.getElementById(id);
const put = (id, text) => { at(id).textContent = text; };
const made = (tag, text, kind) => {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const bytes = (count) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; count >= 999.5 && place < 4; place++) count /= 1000;
  return `${place ? count.toPrecision(3) : count} ${units[place]}`;
};
const named = (rounds) => {
  const names = rounds.flatMap((line) => Object.keys(line.evaluation));
  return names.includes("accuracy") ? "accuracy" : names.sort()[0] || "accuracy";
};
const shown = (value) => (value === undefined || value === null ? "-" : value.toFixed(3));

function curve(rounds, name) {
  const points = rounds.filter((line) => Number.isFinite(line.evaluation[name])).map((line) => line.evaluation[name]);
  const low = Math.min(...points), high = Math.max(...points), span = high - low || 1;
  const place = (value, i) => `${5 + 310 * i / Math.max(1, points.length - 1)},${115 - 110 * (value - low) / span}`;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  at("curve").replaceChildren(line);
}

function show(now) {
  const rounds = now.done, last = rounds[rounds.length - 1], name = named(rounds);
  put("name", now.name || "Hedgerow");
  document.title = `Hedgerow: ${now.name || now.federation}`;
  const ended = last && last.round === now.rounds;
  put("state", ended ? "done" : now.runs ? "running" : "not running");
  put("round", `${last ? last.round : 0} of ${now.rounds || "-"}`);
  put("score-name", name);
  put("score", last ? shown([...rounds].reverse().map((line) => line.evaluation[name]).find(Number.isFinite)) : "-");
  for (const way of ["up", "down"]) put(way, bytes(rounds.reduce((sum, line) => sum + line[`bytes_${way}`], 0)));
  const spent = last && last.epsilon;
  at("epsilon-box").hidden = !Number.isFinite(spent);
  if (Number.isFinite(spent)) put("epsilon", spent.toFixed(2));
  curve(rounds, name);
  put("gathering", now.gathering);
  at("devices").replaceChildren(...now.devices.map((each) => {
    const item = made("li", each.name, each.state);
    item.title = each.state;
    return item;
  }));
  put("register", now.register.trust === "signed"
    ? `identities: version ${now.register.version}, signed` : "identities: trusted on first use");
  const dropped = [...rounds].reverse().flatMap((line) => [
    ...(line.failed ? [`round ${line.round} changed nothing: ${line.failed}`] : []),
    ...Object.entries(line.dropped).map(([who, why]) => `round ${line.round}: ${who}: ${why}`),
  ]);
  at("dropped").replaceChildren(...(dropped.length ? dropped.slice(0, 50) : ["nobody"]).map((text) => made("li", text)));
  at("rounds").replaceChildren(...[...rounds].reverse().map((line) => {
    const row = made("tr", "", line.failed ? "lost" : "");
    const count = line.asked - Object.keys(line.dropped).length;
    for (const text of [line.round, shown(line.evaluation[name]), `${count}/${line.asked}`,
      bytes(line.bytes_up), bytes(line.bytes_down), line.seconds.toFixed(1)]) row.append(made("td", text));
    return row;
  }));
}

const token = new URLSearchParams(location.search).get("token");
const stream = new EventSource(`events?token=${encodeURIComponent(token)}`);
stream.onmessage = (event) => show(JSON.parse(event.data));
stream.onerror = () => put("state", "the coordinator does not answer; trying again");

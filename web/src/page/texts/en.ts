/** All that the page says, in English. Another language is another file of this type. */

import type { Why } from "../../data/unfit.ts";
import type { OwnSchema } from "../../recipe/own_data.ts";
import type { Test } from "../own_model.ts";
import type { Rules } from "../rules.ts";

const count = new Intl.NumberFormat("en");
const when = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

function some(n: number, one: string, more = `${one}s`): string {
  return `${count.format(n)} ${n === 1 ? one : more}`;
}

function size(bytes: number): string {
  if (bytes < 1000) return some(bytes, "byte");
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(bytes / unit).toPrecision(3)} ${name}`;
}

const KINDS: Readonly<Record<string, string>> = {
  query: "its name", train: "a change of the model", evaluate: "how well the model does",
  "train.masked": "a change of the model, hidden", "evaluate.masked": "how well the model does, hidden",
  keys: "keys for a hidden sum", shares: "shares for a hidden sum", survivors: "a signature for a hidden sum",
  unmask: "shares that complete a hidden sum", failed: "word that a hidden sum has failed",
};

/** Why something that somebody has added is not used. */
function unfit(why: Why): string {
  switch (why.kind) {
    case "encoding": return "This file is not text in UTF-8; save it as CSV in UTF-8.";
    case "quotes": return "A quotation mark in this file is not closed, or closed too early.";
    case "no columns": return "This task does not take tables.";
    case "empty": return "This file has no row of data.";
    case "picture": return "This file is not a picture that this browser can read.";
    case "too short": return "This recording is too short, or has gaps: keep moving for some seconds.";
    case "other kind": return "Not for this task.";
    case "nothing": return "Draw something first.";
    case "no label": return "Say first what it is.";
    case "no column": return `There is no column “${why.column}”; the file has ${why.names.join(", ") || "none"}.`;
    case "two columns": return `There are two columns “${why.column}”.`;
    case "cells": return `Row ${why.row} has ${some(why.found, "cell")}; the first row has ${why.wanted}.`;
    case "value": return `Row ${why.row}: “${why.column}” is “${why.cell}”; it must be ${why.allowed}.`;
    case "range": return `It has a value that the task does not allow; it must be ${why.allowed}.`;
    case "label": {
      const where = why.row === undefined ? "" : `Row ${why.row}: `;
      const allowed = why.classes.length ? `one of ${why.classes.join(", ")}` : "a number, of up to 3.4e38";
      return `${where}“${why.label}” is no answer here; it must be ${allowed}.`;
    }
  }
}

/** What is learned, after "to". */
function what(schema: OwnSchema | undefined): string {
  if (!schema) return "do something together";
  const { classes, label } = schema;
  if (!classes.length) return `predict ${label}`;
  const digits = classes.join("") === "0123456789";
  const shown = `${classes.slice(0, 10).join(", ")}${classes.length > 10 ? " and more" : ""}`;
  return digits ? "read digits" : `tell ${shown} apart`;
}

/** What the phone answers, and what not: its rules in sentences. */
function rules(given: Rules): string[] {
  const said = [
    given.masked_only
      ? `It sends a change of the model only where it is hidden in the sum of at least ${given.min_clients} devices.`
      : "It also sends changes of the model that the server can read one by one.",
  ];
  if (given.masked_only && given.corrupt > 0) {
    said.push(`The sum stays hidden even if ${percent.format(given.corrupt)} of these devices help the server.`);
  }
  if (given.client_noise > 0) said.push(`Noise of at least ${given.client_noise} clip norms hides it in the sum, too.`);
  if (given.client_epsilon !== null) {
    said.push(`All answers together reveal at most ε = ${given.client_epsilon} about it; then it stops.`);
  }
  said.push(given.most_answers === null
    ? "It answers until you stop it." : `It answers at most ${some(given.most_answers, "time")} in all.`);
  said.push(given.evaluate
    ? "It tells how well the model does on its test part."
    : "It does not tell how well the model does on its data.");
  return said;
}

export const en = {
  language: "en",
  name: "Hedgerow",
  noWorker: "This browser cannot run this page: it needs module workers and IndexedDB. A newer one can.",
  insecure: "This address has no certificate that this browser trusts (it must begin with https), so no keys can be"
    + " made here. Ask whoever invited you for an address with one.",
  failed: (why: string) => `Something went wrong: ${why}`,
  noStorage: "This browser keeps nothing for this page, so it cannot take part: leave private mode, or free some"
    + " space.",
  nav: { label: "Parts of this page", round: "Taking part", data: "My data", model: "Try it", leave: "Leave" },
  build: {
    label: "Build",
    none: "unknown (not built, or not reachable)",
    newer: "A newer version of this page lies ready.",
    load: "Reload now",
  },
  elsewhere: "This phone is taking part in another tab. Close that one, and it goes on here.",
  gone: "This browser has erased what it kept for this page: the phone has to be invited again.",

  missing: {
    title: "Scan your invitation",
    how: "Whoever runs the federation shows a QR code. Point this phone's camera at it, and open the address.",
    paste: "Or paste the address here",
    open: "Open",
    bad: "This is not an invitation. Copy the whole address, with what comes after the #.",
  },

  consent: {
    title: (what: string) => `Help to learn to ${what}`,
    sentence: (what: string, rules: Rules) =>
      `Many devices learn together to ${what}: this phone learns from your own data, which never leave it, and sends`
      + ` only how the model should change, ${rules.masked_only
        ? `hidden in a sum of at least ${some(rules.min_clients, "device")} so that nobody sees its part.`
        : "which the server then sees."}`,
    what,
    leaves: "What leaves this phone",
    change: (values: number, up: number) => (values
      ? `In each round, ${some(values, "number")} by which the model should change (${size(up)}), as far as the rules`
        + " below allow; and, if the run asks, how many samples they come from and how well the model fits them."
      : "In each round, numbers by which the model should change, as far as the rules below allow; and, if the run"
        + " asks, how many samples they come from and how well the model fits them."),
    about: "A public key, a name such as phone-3, its network address, and when it is online.",
    stays: "Nothing else: no drawing, no recording, no file, no label.",
    protects: "What protects it",
    said: (least: number, epsilon: number) =>
      (least
        ? `The coordinator says: it sees only sums, each of at least ${some(least, "honest device")}.`
        : "The coordinator says: it sees each phone's change of the model.")
      + (epsilon ? ` Noise bounds what a phone's part reveals: ε is at most ${epsilon.toPrecision(3)}.` : ""),
    refuses: "With the rules chosen here, this phone will refuse that run: it waits for one that hides what it sends.",
    protected: "Rules that this phone keeps, whatever the server asks:",
    strict: "Hidden in a sum (recommended)",
    strictMeans: "Only sums of a large group, in which nobody can see what this phone has sent.",
    open: "Also openly",
    openMeans: "The server sees this phone's changes of the model, from which data can partly be guessed. Choose it"
      + " only if you trust whoever runs it with your data.",
    choice: "How it may send",
    more: "Change these rules",
    group: "Smallest group",
    evaluate: "Also tell how well the model does on my test part",
    limit: "Most answers in all (empty: no limit)",
    graphs: "The code by which it learns",
    graphsMeans: (what: string) =>
      `Graphs ${what}. Compare this with what the author of the task has published: the page checks that they are`
      + " these, and that they contain arithmetic only.",
    noGraphs: "The invitation names no code. Paste the hash or the signer's key from the task's author:",
    trust: "Whom you trust",
    trusted: (origin: string) =>
      `You trust ${origin}, which serves this page. The sum hides your part from a server that is curious; it cannot`
      + " protect you from one that serves a changed page. Anybody can build this page from its sources and compare:",
    join: "Agree and join",
    joining: "Joining …",
    decline: "No, forget this invitation",
    declined: "The invitation is forgotten. Nothing was sent.",
    already: "This phone already takes part; leave first to follow another invitation.",
  },

  data: {
    title: "My data",
    intro: "They stay on this phone. You can delete each of them here.",
    kinds: {
      drawn: "Draw", moved: "Move", picture: "Pick pictures", table: "Pick a table",
    },
    label: "What is it?",
    keep: "Keep",
    kept: (label: string, all: number) => `Kept: ${label}. ${some(all, "entry", "entries")} in all.`,
    clear: "Clear",
    undo: "Undo",
    drawing: "Drawing area",
    drawingHow: "With a keyboard: arrow keys move the pen, space sets it down and lifts it, Enter keeps the drawing,"
      + " Escape clears it.",
    pen: (down: boolean, column: number, row: number) =>
      `Pen ${down ? "down" : "up"}, column ${column}, row ${row}`,
    moving: "Hold the phone, start, and make the movement until you stop.",
    start: "Start",
    stop: "Stop and keep",
    seconds: (n: number) => `${n.toFixed(1)} s recorded`,
    noSensors: "This browser gives a page no motion sensors, or you have not allowed it.",
    pictures: "Pictures of one kind",
    table: "A CSV file, with the names of the columns in its first row",
    tableNeeds: (columns: readonly string[], label: string) =>
      `It must have the columns ${columns.join(", ")}, and ${label} with the answer.`,
    none: "There are no data yet. The phone takes part once there are some.",
    listed: (n: number) => some(n, "entry", "entries"),
    testMeans: (n: number, all: number) =>
      `${count.format(n)} of ${some(all, "sample")} are kept for testing: this phone never learns from them.`,
    drawn: (label: string) => `Drawing of ${label}`,
    moved: (label: string, seconds: number) => `Movement: ${label}, ${seconds.toFixed(1)} s`,
    picture: (label: string, name: string) => `Picture of ${label}: ${name}`,
    tableFile: (name: string, bytes: number) => `Table ${name}, ${size(bytes)}`,
    delete: (what: string) => `Delete: ${what}`,
    deleted: (what: string) => `Deleted: ${what}`,
    unfit,
  },

  round: {
    title: "Taking part",
    start: "Take part",
    pause: "Pause",
    paused: "Paused: nothing is sent or fetched until you go on.",
    needsData: "Add some data first.",
    states: {
      joining: "Joining the federation.",
      waiting: "Waiting for the next round.",
      training: "Learning from your data.",
      sending: "Sending what it has learned.",
      offline: "There is no network; it goes on by itself when there is.",
      refused: "The coordinator's wish was refused.",
      left: "This phone has left. Nothing of it is kept here.",
      revoked: "This phone's key was revoked: the coordinator takes nothing from it any more.",
    },
    noted: (note: string) => `Noted on this phone only: ${note}`,
    number: "Round",
    accuracy: "Right on my test part",
    right: "Right",
    loss: "Loss",
    up: "Sent",
    down: "Fetched",
    size,
    percent: (value: number) => percent.format(value),
    rounds: "Rounds",
    noRounds: "No round yet.",
    rules: "What this phone answers",
    rulesOf: rules,
    account: "What it has given",
    answers: (n: number, most: number | null) => (most === null
      ? `${some(n, "answer")} sent so far.` : `${count.format(n)} of at most ${some(most, "answer")} sent.`),
    spent: (epsilon: number, most: number | null) =>
      `They reveal at most ε = ${epsilon.toFixed(2)} about it${most === null ? "" : `, of ${most} allowed`}.`,
    log: "What has left this phone",
    nothingLeft: "Nothing yet.",
    logLine: (kind: string, bytes: number) => `${KINDS[kind] ?? KINDS[kind.split(".")[1]] ?? kind}, ${size(bytes)}`,
    more: "Show more",
    value: (value: number) => (value < 0.0005 ? "< 0.001" : value.toFixed(3)),
    when: (time: number) => when.format(time),
    awake: "Keep the screen on while it takes part",
    name: (name: string, address: string) => `${name} at ${address}`,
    offlineReady: "This page also opens without a network.",
  },

  model: {
    title: "Try the model",
    none: "There is no promoted model yet. It appears here once the coordinator has promoted one.",
    which: (hash: string) => `Model ${hash.slice(0, 16)}`,
    ask: "What is it?",
    answer: (what: string, sure: number) => `It is ${what}, says the model (${percent.format(sure)}).`,
    number: (value: number) => `The model says ${value.toPrecision(4)}.`,
    bar: (what: string, sure: number) => `${what}: ${percent.format(sure)}`,
    pick: "A picture",
    unsupported: "This page cannot ask for what this model takes.",
    test: ({ held, accuracy, loss }: Test) => {
      const right = accuracy === undefined ? "" : `: it is right on ${percent.format(accuracy)}`;
      const off = accuracy === undefined && loss !== undefined ? `: its loss is ${loss.toPrecision(3)}` : "";
      return held
        ? `On your own test part, ${some(held, "sample")}${right}${off}. Only this phone knows that.`
        : "There are no samples in your own test part yet.";
    },
    noGraph: "The phone has not fetched the graph of this model yet; it does when it takes part.",
  },

  leave: {
    title: "Leave",
    means: "Leaving tells the coordinator, and erases from this phone its keys, its state, its rules, your data and the"
      + " model. What it has already added to the model stays in the model.",
    button: "Leave and erase everything",
    sure: "Erase everything on this phone?",
    yes: "Yes, erase",
    no: "No, stay",
    leaving: "Leaving …",
    left: "This phone has left, and nothing of it is kept here. Thank you for what it did.",
    unreachable: "The coordinator cannot be reached, so it has not been told. Try again later, or erase anyway.",
    anyway: "Erase without telling it",
  },
};

export type Texts = typeof en;

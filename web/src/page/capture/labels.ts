/** What a sample is: one of the task's classes, or what somebody writes. */

import type { Kind } from "../../data/entries.ts";
import { Unfit } from "../../data/unfit.ts";
import type { OwnSchema } from "../../recipe/own_data.ts";
import { choice, el, field } from "../dom.ts";
import type { Texts } from "../texts/texts.ts";

const DIGITS = [..."0123456789"];
const MOST_SHOWN = 12; // more classes than these are a list to choose from

export interface Labels {
  readonly element: HTMLElement;
  /** Throws `Unfit` before something is chosen. */
  readonly label: () => string;
}

export function labels(kind: Kind, schema: OwnSchema | undefined, texts: Texts): Labels {
  const classes = schema ? schema.classes : kind === "drawn" ? DIGITS : [];
  let chosen = "";
  const label = () => {
    if (!chosen.trim()) throw new Unfit({ kind: "no label" });
    return chosen.trim();
  };
  const ask = texts.data.label, take = (value: string) => (chosen = value);
  if (!classes.length) {
    const input: HTMLInputElement = el("input", {
      type: schema ? "number" : "text", step: "any", autocomplete: "off", on: { input: () => take(input.value) },
    });
    return { element: field(ask, input), label };
  }
  if (classes.length <= MOST_SHOWN) return { element: choice(ask, classes.map((each) => [each, each]), take), label };
  const select = el("select", { on: { change: () => take(select.value) } },
    ...["", ...classes].map((each) => el("option", { value: each, textContent: each || "–" })));
  return { element: field(ask, select), label };
}

/** What a screen is. */

import { el } from "../dom.ts";

export interface Screen {
  readonly elements: readonly (Node | string)[];
  /** Show what has changed. */
  readonly update?: () => void;
  /** It is left. */
  readonly end?: () => void;
}

/** A screen of one sentence. */
export function aside(sentence: string): Screen {
  return { elements: [el("p", { className: "sentence", textContent: sentence, aria: { role: "status" } })] };
}

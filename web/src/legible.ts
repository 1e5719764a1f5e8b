/** What a coordinator says, before a person sees it: the page's own words must not look like others. */

import type { OwnSchema } from "./recipe/own_data.ts";

const MOST_NAMES = 10_000, LONGEST_NAME = 100;
const MOST_VALUES = 2 ** 22; // of a sample: a picture of 1,180 x 1,180 pixels in colour
/** Control characters, and those by which a text turns the direction of what stands beside it. */
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Whether a page can show a name as it is. */
export function isLegibleName(name: string): boolean {
  return name.length <= LONGEST_NAME && !UNSEEN.test(name);
}

/** Whether a page can show a schema's names, and hold its samples. */
export function isLegible({ columns, label, classes, size }: OwnSchema): boolean {
  const names = [...columns, label, ...classes];
  return names.length <= MOST_NAMES && size <= MOST_VALUES && names.every(isLegibleName);
}

/** A text of another machine's in one line, without what is not seen, and cut. */
export function inOneLine(text: string, longest: number): string {
  const seen = text.slice(0, 10 * longest).replace(new RegExp(UNSEEN, "gu"), " "); // it may be as long as a message
  return seen.split(/\s+/).filter(Boolean).join(" ").slice(0, longest);
}

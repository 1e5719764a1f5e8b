/** The name that was probably meant (`hedgerow.wording.did_you_mean`, by Python's `difflib`). */

import { compare } from "./secure/lists.ts";
import { represented } from "./wording.ts";

const CLOSE = 0.6;

/** ` Did you mean 'x'?` for the nearest name, or an empty text. */
export function didYouMean(given: string, names: Iterable<string>): string {
  let best: string | undefined, most = CLOSE;
  for (const name of names) {
    const found = ratio([...name], [...given]);
    const later = best === undefined || compare(name, best) > 0;
    if (found > most || (found === most && later)) [best, most] = [name, found];
  }
  return best === undefined ? "" : ` Did you mean ${represented(best)}?`;
}

/** Twice the characters that match, over all (Ratcliff and Obershelp). */
function ratio(a: readonly string[], b: readonly string[]): number {
  return a.length + b.length ? (2 * matching(a, b)) / (a.length + b.length) : 1;
}

function matching(a: readonly string[], b: readonly string[]): number {
  const [i, j, size] = longest(a, b);
  if (!size) return 0;
  return matching(a.slice(0, i), b.slice(0, j)) + size + matching(a.slice(i + size), b.slice(j + size));
}

/** Where the longest run that both have begins, and its length; the first in `a`, and then in `b`. */
function longest(a: readonly string[], b: readonly string[]): [number, number, number] {
  let found: [number, number, number] = [0, 0, 0], above: number[] = [];
  a.forEach((letter, i) => {
    const here: number[] = [];
    b.forEach((other, j) => {
      if (letter !== other) return;
      here[j] = (above[j - 1] ?? 0) + 1;
      if (here[j] > found[2]) found = [i - here[j] + 1, j - here[j] + 1, here[j]];
    });
    above = here;
  });
  return found;
}

/** Lists of names: their order, and their checks. */

import { Refused } from "./errors.ts";

/** Names in the order of their code points, as Python sorts them; JavaScript would compare UTF-16 units. */
export function sorted(names: readonly string[]): string[] {
  return [...names].sort(compare);
}

/** Below 0 if the first of two names comes first. */
export function compare(one: string, other: string): number {
  const a = [...one], b = [...other];
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i].codePointAt(0) ?? 0) - (b[i].codePointAt(0) ?? 0);
    if (difference) return difference;
  }
  return a.length - b.length;
}

/** Where the names of a list must be, and which must be among them. */
export interface Allowed {
  readonly among?: readonly string[];
  readonly having?: string;
}

/** Refuse a list that is not sorted, repeats a name, or has one that is not `among` others. */
export function checkNames(names: readonly string[], what: string, { among, having }: Allowed = {}): void {
  names.forEach((name, i) => {
    const order = i ? compare(names[i - 1], name) : -1;
    if (order === 0) throw new Refused("DuplicateMember", `'${name}' occurs twice among the ${what}`);
    if (order > 0) throw new Refused("Malformed", `the ${what} are not sorted`);
  });
  const allowed = among && new Set(among), stranger = names.find((name) => allowed && !allowed.has(name));
  if (stranger !== undefined) throw new Refused("NotAMember", `'${stranger}' is among the ${what} and must not be`);
  if (having !== undefined && !names.includes(having)) {
    throw new Refused("NotAMember", `'${having}' is not among the ${what}`);
  }
}

/** Argument checks: each returns the value, or throws a `RangeError` that says what was given and what is allowed. */

/** A finite number above 0. */
export function positive(name: string, value: unknown): number {
  return number(name, value, (given) => given > 0, "a number above 0");
}

/** A number above 0 and at most 1. */
export function fraction(name: string, value: unknown): number {
  return number(name, value, (given) => given > 0 && given <= 1, "a number above 0 and at most 1");
}

/** A number from 0 up to, but not including, 1. */
export function probability(name: string, value: unknown): number {
  return number(name, value, (given) => given >= 0 && given < 1, "a number from 0 up to, but not including, 1");
}

/** A number above 0 and below 1. */
export function inside(name: string, value: unknown): number {
  return number(name, value, (given) => given > 0 && given < 1, "a number above 0 and below 1");
}

/** A whole number between the bounds, both included. */
export function whole(name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const allowed = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return number(
    name, value, (given) => Number.isInteger(given) && given >= least && given <= most, `a whole number ${allowed}`,
  );
}

/** One of several values. */
export function oneOf<V>(name: string, value: unknown, allowed: readonly V[]): V {
  if (!allowed.includes(value as V)) refuse(name, value, `one of ${allowed.join(", ")}`);
  return value as V;
}

/** True or false. */
export function flag(name: string, value: unknown): boolean {
  return oneOf(name, value, [true, false]);
}

/** A text. */
export function text(name: string, value: unknown): string {
  if (typeof value !== "string") refuse(name, value, "a text");
  return value;
}

function number(name: string, value: unknown, holds: (given: number) => boolean, allowed: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || !holds(value)) refuse(name, value, allowed);
  return value;
}

function refuse(name: string, value: unknown, allowed: string): never {
  throw new RangeError(`${name} is ${typeof value === "string" ? `'${value}'` : value}; it must be ${allowed}`);
}

/** Argument checks: each returns the value, or throws a `RangeError` that says what was given and what is allowed. */

import { didYouMean } from "./near.ts";
import { repr } from "./wording.ts";

/** A finite number above 0. */
export function positive(name: string, value: unknown): number {
  return number(name, value, (given) => given > 0, "a number above 0");
}

/** A finite number, 0 or above. */
export function notNegative(name: string, value: unknown): number {
  return number(name, value, (given) => given >= 0, "a number, 0 or above");
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
export function whole(
  name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER, shown = value,
): number {
  const allowed = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  const holds = (given: number) => Number.isInteger(given) && given >= least && given <= most;
  const hint = typeof shown === "number" && holds(shown) ? `, such as ${shown}` : "";
  return number(name, value, holds, `a whole number ${allowed}${hint}`, shown);
}

/** The same for a value of a description, in which a float is no whole number. */
export function integer(name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  return whole(name, typeof value === "bigint" ? value : Number.NaN, least, most, value);
}

/** One of several values. */
export function oneOf<V>(name: string, value: unknown, allowed: readonly V[]): V {
  const given = typeof value === "bigint" ? Number(value) : value;
  if (!allowed.includes(given as V)) {
    const near = typeof value === "string" ? didYouMean(value, allowed.map(String)) : "";
    refuse(name, value, `one of ${allowed.map(repr).join(", ")}.${near}`);
  }
  return given as V;
}

/** True or false. */
export function flag(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") refuse(name, value, "True or False");
  return value;
}

/** A text. */
export function text(name: string, value: unknown): string {
  if (typeof value !== "string") refuse(name, value, "a text");
  return value;
}

function number(
  name: string, value: unknown, holds: (given: number) => boolean, allowed: string, shown = value,
): number {
  const given = typeof value === "bigint" ? Number(value) : value;
  if (typeof given !== "number" || !Number.isFinite(given) || !holds(given)) refuse(name, shown, allowed);
  return given;
}

function refuse(name: string, value: unknown, allowed: string): never {
  throw new RangeError(`${name} is ${repr(value)}; it must be ${allowed}`);
}

/** What a device gives of its machine, and when: the `[limits]` of its policy (`hedgerow.client.limits`). */

import * as checks from "../checks.ts";
import { general, repr } from "../wording.ts";

const LEAST_MEMORY = 128;
/** Degrees below the limit before new work begins again. */
const COOLER = 5;
const RANGE = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/;

/** What a browser tells of its machine; `undefined` for what it does not. */
export interface Machine {
  /** Degrees Celsius. */
  temperature(): number | undefined;
  onMains(): boolean | undefined;
  metered(): boolean | undefined;
  /** Local time. */
  now(): Date;
}

/** A machine of which only the time is known. */
export const UNKNOWN_MACHINE: Machine = {
  temperature: () => undefined, onMains: () => undefined, metered: () => undefined, now: () => new Date(),
};

/** The limits of one device; by default, none. Throws `RangeError` if a value is out of range. */
export class Limits {
  readonly memory: number | null;
  readonly threads: number | null;
  readonly temperature: number | null;
  readonly on_mains: boolean;
  readonly unmetered: boolean;
  readonly quiet: readonly string[];

  constructor(given: Partial<Limits> = {}) {
    const { memory = null, threads = null, temperature = null } = given;
    const { on_mains = false, unmetered = false, quiet = [] } = given;
    this.memory = memory === null ? null : checks.whole("memory", memory, LEAST_MEMORY);
    this.threads = threads === null ? null : checks.whole("threads", threads, 1);
    this.temperature = temperature === null ? null : checks.positive("temperature", temperature);
    for (const [name, value] of Object.entries({ on_mains, unmetered })) {
      if (typeof value !== "boolean") throw new RangeError(`${name} is ${repr(value)}; it must be true or false`);
    }
    [this.on_mains, this.unmetered] = [on_mains, unmetered];
    for (const text of quiet) {
      if (typeof text !== "string" || !RANGE.test(text)) {
        throw new RangeError(`quiet has ${repr(text)}; it must have ranges of hours, such as '22:00-06:00'`);
      }
    }
    this.quiet = quiet;
  }

  /** Why the device takes no new work now, a sentence for each limit; `resting` are those for which it takes none. */
  reasons(machine: Machine, resting: ReadonlySet<string> = new Set()): Map<string, string> {
    const found = new Map([
      ["temperature", this.#temperature(machine, resting.has("temperature"))], ["on_mains", this.#onMains(machine)],
      ["unmetered", this.#unmetered(machine)], ["quiet", this.#quiet(machine)],
    ]);
    return new Map([...found].filter(([, why]) => why));
  }

  #temperature(machine: Machine, resting: boolean): string {
    if (this.temperature === null) return "";
    const found = machine.temperature();
    if (found === undefined) {
      return "this machine shows no temperature: leave temperature out of [limits] to take part";
    }
    if (found < this.temperature - (resting ? COOLER : 0)) return "";
    return `it is ${found.toFixed(0)} °C here, and the limit is ${general(this.temperature)} °C`;
  }

  #onMains(machine: Machine): string {
    if (!this.on_mains) return "";
    const onMains = machine.onMains();
    if (onMains === undefined) {
      return "whether the machine runs on its battery cannot be known, because the browser does not say: leave on_mains"
        + " out of [limits] to take part";
    }
    return onMains ? "" : "the machine runs on its battery";
  }

  #unmetered(machine: Machine): string {
    if (!this.unmetered) return "";
    const metered = machine.metered();
    if (metered === undefined) {
      return "whether the link is metered cannot be known, because the browser does not say: leave unmetered out of"
        + " [limits] to take part";
    }
    return metered ? "the link is metered" : "";
  }

  #quiet(machine: Machine): string {
    const date = machine.now(), now = `${two(date.getHours())}:${two(date.getMinutes())}`;
    const inside = this.quiet.find((text) => {
      const [begin, end] = text.split("-");
      return begin < end ? begin <= now && now < end : now >= begin || now < end;
    });
    return inside === undefined ? "" : `the hours ${inside} are quiet`;
  }
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

/** Keeps the screen on while the phone takes part, if its owner wants that and the browser can. */

import { el } from "./dom.ts";

export class Awake {
  readonly element: HTMLElement;
  readonly #wanted = el("input", { type: "checkbox", on: { change: () => this.look() } });
  readonly #working: () => boolean;
  readonly #seen = () => this.look();
  #lock: WakeLockSentinel | undefined;

  /** `working` says whether the phone takes part. */
  constructor(label: string, working: () => boolean) {
    this.#working = working;
    this.element = el("label", { className: "check", hidden: !("wakeLock" in navigator) }, this.#wanted, label);
    document.addEventListener("visibilitychange", this.#seen);
  }

  /** Ask for it, or give it up, as things are now; a browser takes it away from a hidden page. */
  look(): void {
    const wanted = this.#wanted.checked && this.#working() && document.visibilityState === "visible";
    if (!wanted) void this.#giveUp();
    else if (!this.#lock || this.#lock.released) void this.#ask();
  }

  end(): void {
    document.removeEventListener("visibilitychange", this.#seen);
    void this.#giveUp();
  }

  async #ask(): Promise<void> {
    try {
      this.#lock = await navigator.wakeLock.request("screen");
    } catch {
      this.#wanted.checked = false; // such as a battery that is low
    }
  }

  async #giveUp(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }
}

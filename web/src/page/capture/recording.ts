/** A recording of the motion sensors, where the browser has them and its owner allows it. */

import { type Instant, instant } from "../../data/motion.ts";
import { button, el } from "../dom.ts";
import type { Texts } from "../texts/texts.ts";

const SILENT = 1500; // milliseconds after which a browser that tells nothing has no sensors
const LONGEST = 120_000;

/** iOS asks the person first. */
type Asking = typeof DeviceMotionEvent & { requestPermission?: () => Promise<"granted" | "denied"> };

/** Whether this browser may have sensors at all. */
export const SENSED = typeof DeviceMotionEvent !== "undefined";

/** Buttons that start and end a recording; `kept` is given what was recorded. */
export class Recording {
  readonly element: HTMLElement;
  readonly #texts: Texts;
  readonly #kept: (recording: Float64Array<ArrayBuffer>) => void;
  readonly #button: HTMLButtonElement;
  readonly #told: HTMLElement;
  #instants: Instant[] | undefined;
  readonly #heard = (event: DeviceMotionEvent) => this.#hear(event);

  constructor(texts: Texts, kept: (recording: Float64Array<ArrayBuffer>) => void) {
    this.#texts = texts;
    this.#kept = kept;
    this.#button = button(texts.data.start, () => this.#press(), { primary: true });
    this.#told = el("p", { className: "note", aria: { live: "polite" } });
    this.element = el("div", {}, el("p", { textContent: texts.data.moving }), this.#button, this.#told);
  }

  /** Stop listening, as when the screen is left. */
  end(): void {
    removeEventListener("devicemotion", this.#heard);
    this.#instants = undefined;
    this.#button.textContent = this.#texts.data.start;
  }

  async #press(): Promise<void> {
    if (this.#instants) {
      const recording = Float64Array.from(this.#instants.flat());
      this.end();
      this.#kept(recording);
      return;
    }
    const asking = DeviceMotionEvent as Asking;
    if (asking.requestPermission && (await asking.requestPermission()) !== "granted") {
      this.#told.textContent = this.#texts.data.noSensors;
      return;
    }
    this.#instants = [];
    this.#button.textContent = this.#texts.data.stop;
    addEventListener("devicemotion", this.#heard);
    setTimeout(() => {
      if (this.#instants?.length !== 0) return;
      this.end();
      this.#told.textContent = this.#texts.data.noSensors;
    }, SILENT);
  }

  #hear(event: DeviceMotionEvent): void {
    const found = instant(event), instants = this.#instants;
    if (!found || !instants || found[0] - (instants[0]?.[0] ?? found[0]) > LONGEST) return;
    instants.push(found);
    if (instants.length % 25 === 0) {
      this.#told.textContent = this.#texts.data.seconds((found[0] - instants[0][0]) / 1000);
    }
  }
}

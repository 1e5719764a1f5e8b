/** Noise that the server adds to what a round reveals: on the client these steps do nothing. */

import * as checks from "../../checks.ts";
import { gaussian } from "../../privacy/events.ts";
import { float } from "../../wording.ts";
import { type Transform, transform } from "../pipeline/transform.ts";

/** Gaussian noise on the sum of a round (McMahan et al. 2018, arXiv:1710.06963, algorithm 1). */
export function gaussianNoise(multiplier: unknown): Transform {
  const size = checks.positive("multiplier", multiplier);
  return byTheServer(`gaussian_noise(${float(size)})`, size, 1);
}

/** The same, of which later rounds subtract part again (Choquette-Choo et al. 2023, arXiv:2306.08153). */
export function bandedNoise(multiplier: unknown, bands: unknown, rounds: unknown): Transform {
  const size = checks.positive("multiplier", multiplier);
  const over = checks.whole("bands", bands, 1), most = checks.whole("rounds", rounds, 1);
  return byTheServer(`banded_noise(${float(size)}, ${over}, ${most})`, size, Math.min(over, most));
}

function byTheServer(name: string, multiplier: number, bands: number): Transform {
  const noise = { multiplier, bands, minHonest: 0, event: gaussian(multiplier) };
  return transform({ name, kinds: ["noise"], summable: true, protection: { maxInt: (before) => before, noise } });
}

/** Noise that the server adds to what a round reveals: on the client these steps do nothing. */

import * as checks from "../../checks.ts";
import { float } from "../../wording.ts";
import { type Transform, transform } from "../pipeline/transform.ts";

/** Gaussian noise on the sum of a round (McMahan et al. 2018, arXiv:1710.06963, algorithm 1). */
export function gaussianNoise(multiplier: unknown): Transform {
  return byTheServer(`gaussian_noise(${float(checks.positive("multiplier", multiplier))})`);
}

/** The same, of which later rounds subtract part again (Choquette-Choo et al. 2023, arXiv:2306.08153). */
export function bandedNoise(multiplier: unknown, bands: unknown, rounds: unknown): Transform {
  const size = float(checks.positive("multiplier", multiplier));
  return byTheServer(`banded_noise(${size}, ${checks.whole("bands", bands, 1)}, ${checks.whole("rounds", rounds, 1)})`);
}

function byTheServer(name: string): Transform {
  const protection = { maxInt: (before: number) => before, minHonest: 0 };
  return transform({ name, kinds: ["noise"], summable: true, protection });
}

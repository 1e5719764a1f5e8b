/** The trainer of a run, from graphs that the device's policy takes. */

import { checkRun } from "../../graphs/agreement.ts";
import { BadGraphs } from "../../graphs/errors.ts";
import { inspect } from "../../graphs/inspection.ts";
import { Refused } from "../../secure/errors.ts";
import type { Made, MakeTrainer } from "../trainer.ts";
import { open as usual, type Open } from "./session.ts";
import { OnnxTrainer } from "./trainer.ts";

/** As `MakeTrainer`, with what loads graphs. */
export function trainersBy(open: Open = usual): MakeTrainer {
  return async (run, data, most): Promise<Made> => {
    try {
      if (run.graphs === undefined) throw new BadGraphs("the run has none");
      const graphs = run.graphs.opened(data);
      inspect(graphs, most);
      const start = checkRun(graphs, run);
      return { trainer: new OnnxTrainer(graphs, open), start };
    } catch (error) {
      if (error instanceof BadGraphs) throw new Refused("AgainstPolicy", `rule graphs: ${error.message}`);
      throw error;
    }
  };
}

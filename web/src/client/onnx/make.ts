/** The trainer of a run, from graphs that the device's policy takes. */

import { checkRun } from "../../graphs/agreement.ts";
import { BadGraphs } from "../../graphs/errors.ts";
import { inspect } from "../../graphs/inspection.ts";
import { Refused } from "../../secure/errors.ts";
import type { MakeTrainer } from "../trainer.ts";
import { open as usual, type Open } from "./session.ts";
import { OnnxTrainer } from "./trainer.ts";

/** As `MakeTrainer`, with what loads graphs; what the last one that was made takes is freed. */
export function trainersBy(open: Open = usual): MakeTrainer {
  let last: OnnxTrainer | undefined;
  return async (run, data, most) => {
    await last?.release();
    try {
      if (run.graphs === undefined) throw new BadGraphs("the run has none");
      const graphs = run.graphs.opened(data);
      inspect(graphs, most);
      const start = checkRun(graphs, run);
      last = new OnnxTrainer(graphs, open);
      return { trainer: last, start };
    } catch (error) {
      if (error instanceof BadGraphs) throw new Refused("AgainstPolicy", `rule graphs: ${error.message}`);
      throw error;
    }
  };
}

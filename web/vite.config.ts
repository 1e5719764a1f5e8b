/** The page as files that any server can give out: the same bytes of the same sources, compressed beforehand. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const WORKER = "sw.js"; // the service worker must lie beside the page, under one name for ever
const LIST = "build.json";

/** After all files: what the service worker keeps, what the build is, and each file in two compressed forms. */
function finished(): Plugin {
  let folder = "";
  return {
    name: "hedgerow-finished",
    configResolved: (config) => void (folder = resolve(config.root, config.build.outDir)),
    closeBundle: {
      order: "post",
      handler() {
        const script = join(folder, WORKER);
        const files = hashes(folder, (name) => name !== WORKER);
        const kept = JSON.stringify({ version: overall(files), files });
        writeFileSync(script, readFileSync(script, "utf8").replace(/["'`]HEDGEROW-FILES["'`]/, () => kept));
        const all = hashes(folder, () => true), build = { hash: overall(all), files: all };
        writeFileSync(join(folder, LIST), `${JSON.stringify(build, null, 1)}\n`);
        for (const name of [...Object.keys(all), LIST]) compress(join(folder, name));
      },
    },
  };
}

/** SHA-256 of each file, 64 hex digits, by name. */
function hashes(folder: string, wanted: (name: string) => boolean): Record<string, string> {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const names = all.map((file) => join(file.parentPath, file.name).slice(folder.length + 1).split(sep).join("/"));
  const hash = (name: string) => createHash("sha256").update(readFileSync(join(folder, name))).digest("hex");
  return Object.fromEntries(names.filter(wanted).sort().map((name) => [name, hash(name)]));
}

/** The hash of all, as `sha256sum` would list them: `cd dist && sha256sum FILES | sha256sum`. */
function overall(files: Record<string, string>): string {
  const lines = Object.entries(files).map(([name, hash]) => `${hash}  ${name}\n`);
  return createHash("sha256").update(lines.join("")).digest("hex");
}

function compress(file: string): void {
  const content = readFileSync(file);
  // The highest quality takes minutes for the runtime's 14 MB, and saves a tenth of what this one leaves.
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
  writeFileSync(`${file}.br`, brotliCompressSync(content, { params }));
  writeFileSync(`${file}.gz`, gzipSync(content, { level: 9 }));
}

export default defineConfig({
  base: "./", // the page works under any path
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the policy of the page allows no data: but for pictures
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      input: { main: "index.html", sw: "src/page/offline/service_worker.ts" },
      output: { entryFileNames: ({ name }) => (name === "sw" ? WORKER : "assets/[name]-[hash].js") },
    },
  },
  worker: { format: "es" },
  plugins: [finished()],
});

/** The page whose steps are timed, built as the page for phones is. */

import { defineConfig } from "vite";

export default defineConfig({
  root: "tests/timed", base: "./", logLevel: "warn", worker: { format: "es" },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
});

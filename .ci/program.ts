// What the script of the compiled program holds: see start.ts.
export { main } from "../lib/cli/main.ts";
export { processIo } from "../lib/host/io.ts";

import { main } from "./lib/cli/main.ts";
import { processIo } from "./lib/host/io.ts";

if (import.meta.main) Deno.exit(await main(processIo()));

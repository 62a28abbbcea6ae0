// The start of the compiled program, as cli.ts is that of the sources. What follows it is one script instead of modules,
// because only a script can be given the code that V8 made of it when it was compiled: a command would spend most of its
// time on that.
import { asksForVersion, showVersion } from "../lib/cli/version.ts";
import { processIo } from "../lib/host/io.ts";

if (import.meta.main) Deno.exit(await start());

async function start(): Promise<number> {
  const io = processIo();
  try {
    // Scripts call this in a loop, and it needs none of the code.
    if (asksForVersion(io.args)) return showVersion(io);
  } catch {
    // The program tries again, and says why it fails.
  }
  // A daemon starts once, and would keep the memory that the script takes.
  if (io.args.includes("serve")) return await (await import("../lib/cli/main.ts")).main(io);
  const { loadScript } = await import("./load_script.ts");
  const { program } = loadScript(import.meta.dirname ?? "");
  return await program.main(program.processIo());
}

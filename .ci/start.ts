// The start of the compiled program, as cli.ts is that of the sources. What follows it is one script instead of modules,
// because only a script can be given the code that V8 made of it when it was compiled: a command would spend most of its
// time on that.
import { asksForVersion, showVersion } from "../lib/cli/version.ts";

if (import.meta.main) Deno.exit(await start(Deno.args));

async function start(args: readonly string[]): Promise<number> {
  try {
    // Scripts call this in a loop, and it needs none of the code.
    if (asksForVersion(args)) return showVersion({ write });
  } catch {
    // The program tries again, and knows what the problem means.
  }
  // A daemon starts once, and would keep the memory that the script takes.
  if (args.includes("serve")) return await serve();
  const { loadScript } = await import("./load_script.ts");
  const { program } = loadScript(import.meta.dirname ?? "");
  return await program.main(program.processIo());
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  if (Deno.stdout.writeSync(bytes) < bytes.length) throw new Error("Cannot write all of a line at once");
}

async function serve(): Promise<number> {
  const { main, processIo } = await import("./program.ts");
  return await main(processIo());
}

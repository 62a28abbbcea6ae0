/**
 * A process that attaches and detaches: `port_process.ts OPTIONS`, as JSON. Each line of its standard input is a call,
 * `["add" or "del", REQUEST]`. For each call it prints a line with `done`, or with the kind and message of the error.
 */
import { CniError } from "../../lib/cni/error.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";

async function main(): Promise<void> {
  const podwire = new Podwire(JSON.parse(Deno.args[0] ?? "{}"));
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [verb, request] = JSON.parse(line);
      try {
        await podwire[verb as "add" | "del"]("web", request);
        console.log("done");
      } catch (error) {
        console.log(error instanceof CniError ? `${error.kind} ${error.msg}` : String(error));
      }
    }
  }
}

if (import.meta.main) await main();

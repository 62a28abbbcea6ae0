/**
 * A process of its own that makes a sandbox: `sandbox_process.ts OPTIONS REQUEST`, both JSON. It prints its
 * process ID on the first line, and `ready ID`, or the kind of the error, on the second.
 */
import { CniError } from "../../lib/cni/error.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";

async function main(): Promise<void> {
  const [options, request] = Deno.args.map((text) => JSON.parse(text));
  console.log(Deno.pid);
  try {
    const { id } = await new Podwire(options).sandboxes.run(request);
    console.log(`ready ${id}`);
  } catch (error) {
    console.log(error instanceof CniError ? error.kind : String(error));
  }
}

if (import.meta.main) await main();

// A peer for the tests of the protocol: the network of a request says how it behaves.
import { LineSplitter } from "../../lib/host/capture.ts";

interface Asked {
  readonly id: number;
  readonly pod: string;
  readonly network: string;
}

/** Answered only when the next request has arrived, and after it. */
let held: Asked | undefined;

const say = (line: unknown) => console.log(typeof line === "string" ? line : JSON.stringify(line));

function answer(asked: Asked): void {
  const { id, pod, network } = asked;
  switch (network) {
    case "hold":
      held = asked;
      return;
    case "refuse":
      return say({ id, ok: false, error: `no room for ${pod}` });
    case "silent-refusal":
      return say({ id, ok: false });
    case "garbage":
      return say("panic: <nil>");
    case "half":
      return say({ id, ok: "yes" });
    case "stranger":
      return say({ id: id + 1000, ok: true });
    case "die":
      return Deno.exit(3);
    case "kill":
      return Deno.kill(Deno.pid, "SIGKILL");
    default:
      say({ id, ok: true });
  }
  if (held !== undefined) say({ id: held.id, ok: true });
  held = undefined;
}

const lines = new LineSplitter((line) => answer(JSON.parse(line)));
for await (const bytes of Deno.stdin.readable) lines.push(bytes);

// Lets a daemon (podwire serve) run a sandbox, and prints what happens until it is removed.
//
//   deno run --no-prompt \
//     --allow-read=/run/podwire/podwire.sock \
//     --allow-write=/run/podwire/podwire.sock \
//     examples/daemon_client.ts
//
// From Deno 2.9.0 on also: --allow-net=unix:/run/podwire/podwire.sock
import { DaemonClient } from "@podwire/podwire/client";

const client = new DaemonClient("/run/podwire/podwire.sock");
{
  await using sandbox = await client.run({ name: "job" });
  console.log(sandbox.ips, (await client.get("job")).state);
}
console.log((await client.list({ name: "job" })).length);

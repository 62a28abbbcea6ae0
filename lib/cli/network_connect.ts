import { withSignals } from "../plugin/signals.ts";
import type { CommandInput } from "./command.ts";
import { interfaceName, networkName } from "./flag_value.ts";
import { wantedNetwork } from "./network_flag.ts";
import { openPodwire } from "./open.ts";
import { printSandbox, warnFailures } from "./sandbox_text.ts";

/** `podwire network connect SANDBOX NETWORK` */
export async function networkConnect(input: CommandInput): Promise<number> {
  const [sandbox = "", text = ""] = input.operands;
  const network = wantedNetwork(text);
  const options = { namespace: input.value("namespace"), allowOverlap: input.flag("allow-overlap") };
  const { sandboxes } = openPodwire(input);
  const connect = (signal: AbortSignal) => sandboxes.connect(sandbox, network, { ...options, signal });
  printSandbox(input, await withSignals(input.io, connect));
  return 0;
}

/** `podwire network disconnect SANDBOX NETWORK` */
export async function networkDisconnect(input: CommandInput): Promise<number> {
  const [sandbox = "", text = ""] = input.operands;
  const network = networkName("NETWORK", text);
  const given = input.value("ifname");
  const ifName = given === undefined ? undefined : interfaceName("--ifname", given);
  const options = { namespace: input.value("namespace"), ifName };
  const { sandboxes } = openPodwire(input);
  const disconnect = (signal: AbortSignal) => sandboxes.disconnect(sandbox, network, { ...options, signal });
  warnFailures(input, await withSignals(input.io, disconnect));
  return 0;
}

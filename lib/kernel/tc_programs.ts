import { HostError, runOk } from "../host/command.ts";
import { type IpOptions, runInNetns } from "../host/ip_command.ts";
import type { Incoming, RateLimit, Shaping, ShapingChange } from "./shaping.ts";

/** What `tc` says of a queue that is not there, or that is another one. */
const NOT_THERE = /Invalid handle|No such file|handle of zero|Cannot delete qdisc|Specified qdisc/i;

/** Makes a change by `tc`. Requires `--allow-run=tc`. @throws {HostError} */
export async function shapeByTc(change: ShapingChange, options: IpOptions): Promise<void> {
  const { device } = change;
  switch (change.kind) {
    case "limit-rate": {
      // In the words of tc, bps are bytes a second.
      const { rate, burst, limit } = change.limit;
      const words = `tbf rate ${rate}bps burst ${burst}b limit ${limit}b`;
      return void await tc(
        ["qdisc", "replace", "dev", device, "root", "handle", "1:", ...words.split(" ")],
        options,
      );
    }
    case "redirect": {
      await tc(["qdisc", "add", "dev", device, "ingress"], options);
      const words =
        "parent ffff: protocol all prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress redirect";
      return void await tc(["filter", "add", "dev", device, ...words.split(" "), "dev", change.to], options);
    }
    case "stop-limit": {
      // With its kind, tc wants to know all of the queue that is to go.
      const { limit } = await shapingByTc(device, options);
      if (limit === undefined) return;
      return await unlessGone(tc(["qdisc", "del", "dev", device, "root", "handle", "1:"], options));
    }
    case "stop-redirect":
      return await unlessGone(tc(["qdisc", "del", "dev", device, "ingress"], options));
  }
}

async function unlessGone(removal: Promise<string>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (!(error instanceof HostError) || !NOT_THERE.test(error.stderr)) throw error;
  }
}

/** How `tc` writes an interface that is gone. */
const GONE = "*";

/** A queue or a filter, as `tc -j` shows it. */
interface Shown {
  readonly kind?: string;
  readonly root?: boolean;
  readonly options?: {
    readonly rate?: number;
    readonly burst?: number;
    readonly limit?: number;
    readonly actions?: readonly {
      readonly kind?: string;
      readonly mirred_action?: string;
      readonly to_dev?: string;
    }[];
  };
}

/** Shows how the packets of an interface are queued, by `tc`. @throws {HostError} */
export async function shapingByTc(device: string, options: IpOptions): Promise<Shaping> {
  const queues = await list(["qdisc", "show", "dev", device], options);
  const limit = limitIn(queues);
  const isFiltered = queues.some(({ kind }) => kind === "ingress");
  return { limit, incoming: isFiltered ? await incomingByTc(device, options) : "unfiltered" };
}

async function incomingByTc(device: string, options: IpOptions): Promise<Incoming> {
  const filters = await list(["filter", "show", "dev", device, "parent", "ffff:"], options);
  if (filters.length === 0) return "no filters";
  const [action] = filters.flatMap(({ options }) => options?.actions ?? []);
  if (action?.kind !== "mirred" || action.mirred_action !== "redirect") return "other filters";
  const { to_dev: to = GONE } = action;
  return to === GONE ? "redirected to nothing" : { redirectsTo: to };
}

function limitIn(queues: readonly Shown[]): RateLimit | undefined {
  const found = queues.find(({ kind, root }) => kind === "tbf" && root === true)?.options;
  if (found === undefined) return undefined;
  const { rate = 0, burst = 0, limit = 0 } = found;
  return { rate, burst, limit };
}

async function list(args: readonly string[], options: IpOptions): Promise<readonly Shown[]> {
  // Raw, because only then it shows how much may wait.
  const text = await tc(["-j", "-r", ...args], options);
  try {
    return text.trim() === "" ? [] : JSON.parse(text);
  } catch (cause) {
    const message = `Cannot read the output of "tc ${args.join(" ")}": not JSON`;
    throw new HostError(message, { reason: "bad-output", program: "tc", args, code: 0, cause });
  }
}

async function tc(args: readonly string[], options: IpOptions): Promise<string> {
  const request = { program: "tc", args, signal: options.signal, ownGroup: false };
  return (await runOk((request) => runInNetns(request, options), request)).stdout;
}

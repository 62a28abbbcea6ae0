import { CniError } from "../cni/error.ts";
import { asResult } from "../cni/result.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { type RunCommand, runCommand } from "../host/command.ts";
import type { Io } from "../host/io.ts";
import { withSignals } from "../plugin/signals.ts";
import type { Podwire } from "../runtime/podwire.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { drawPicture } from "./picture.ts";
import { openPodwire } from "./open.ts";
import { proveTraffic } from "./traffic.ts";

/** `podwire demo` */
export async function demo(input: CommandInput): Promise<number> {
  const closed = { embeddedOnly: true, embeddedWayOut: false } as const;
  const podwire = openPodwire(input, { ...closed, builtinPolicy: "prefer" });
  const tag = crypto.getRandomValues(new Uint8Array(2)).toHex();
  const show = new Show(input.io);
  return await withSignals(input.io, async (signal) => {
    const made: Sandbox[] = [];
    try {
      for (const letter of ["a", "b"]) made.push(await show.make(podwire, `demo-${tag}-${letter}`, signal));
      await show.traffic(made, signal);
      return 0;
    } catch (error) {
      // Whatever was under way when the user interrupted it says more than the user wants to know.
      signal.throwIfAborted();
      throw error;
    } finally {
      await show.cleanUp(podwire, made);
    }
  });
}

/** Makes the sandboxes and prints each step. */
class Show {
  readonly #io: Io;
  readonly #run: RunCommand = runCommand;

  constructor(io: Io) {
    this.#io = io;
  }

  async make(podwire: Podwire, name: string, signal: AbortSignal): Promise<Sandbox> {
    this.#step(`sandbox "${name}"`);
    const started = performance.now();
    const sandbox = await podwire.sandboxes.run({ name }, { signal });
    const ms = Math.round(performance.now() - started);
    this.#line(`namespace  ${sandbox.netns}`);
    for (const { name: network, ifName } of sandbox.networks) {
      this.#line(
        `network    ${network}: bridge and host-local, built in, gave ${ifName} ${sandbox.ips.join(" and ")}`,
      );
    }
    this.#line(`ready      after ${ms} ms`);
    return sandbox;
  }

  async traffic(sandboxes: readonly Sandbox[], signal: AbortSignal): Promise<void> {
    const [from, to] = sandboxes;
    if (from === undefined || to === undefined) return;
    this.#io.write(`\n${pictureOf(sandboxes)}\n`);
    this.#step(`traffic from "${from.name}" to "${to.name}"`);
    if (to.ips.length < 2) this.#line("this machine has no IPv6: one family only");
    for (const ip of to.ips) {
      const { reply, ms } = await proveTraffic(from.netns, to.netns, ip, { run: this.#run, signal });
      this.#line(`${ip.includes(":") ? "IPv6" : "IPv4"}       ${reply} (${ms} ms)`);
    }
  }

  async cleanUp(podwire: Podwire, sandboxes: readonly Sandbox[]): Promise<void> {
    this.#step("clean-up");
    const failures: string[] = [];
    for (const { id, name } of sandboxes.toReversed()) {
      try {
        const left = await podwire.sandboxes.remove(id, { force: true });
        failures.push(...left.map(({ message }) => message));
        if (left.length === 0) this.#line(`removed    "${name}"`);
      } catch (error) {
        // The other sandbox has to be removed too.
        failures.push(asCniError(error).message);
      }
    }
    if (failures.length > 0) {
      const hint = "`podwire recover` retries it";
      throw new CniError("io", `Cannot clean up the demo: ${failures.join("; ")}`, { hint });
    }
    this.#line("nothing is left behind");
  }

  #step(text: string): void {
    this.#io.write(`- ${text}\n`);
  }

  #line(text: string): void {
    this.#io.write(`    ${text}\n`);
  }
}

function pictureOf(sandboxes: readonly Sandbox[]): string {
  let bridge = "";
  const pictured = sandboxes.map(({ name, networks }) => {
    const [network] = networks;
    const { ips = [], interfaces = [] } = network === undefined ? {} : asResult(network.result);
    const onHost = interfaces.filter(({ sandbox }) => !sandbox).map((link) => link.name);
    bridge = onHost[0] ?? "";
    return { name, addresses: ips.map(({ address }) => address), hostLink: onHost[1] ?? "" };
  });
  return drawPicture(pictured, { name: bridge, addresses: [] });
}

// What an ADD of the bridge waits for, and what it does not wait for.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { waitForPort } from "../../lib/builtin/bridge_port.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";

const NEEDED = need("root", "ip");

function callOf(world: World, netns: string, addresses: readonly string[]) {
  const config: JsonObject = {
    ...{
      cniVersion: "1.0.0",
      name: `net-${world.tag}`,
      type: "bridge",
      bridge: world.bridge,
      isGateway: true,
    },
    ipam: { type: "static", addresses: addresses.map((address) => ({ address })) },
  };
  return { containerId: `c-${world.tag}`, netns, ifName: "eth0", config };
}

Deno.test({
  name:
    "U5 an ADD with addresses of both families starts no more programs than one with IPv4, and its addresses are usable",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const [v4, v6] = [`${world.subnet4}.7/24`, `${world.subnet6}::7/64`];
    let started = 0;
    const run: RunCommand = (request) => {
      started++;
      return runCommand(request);
    };
    const programs = async (...addresses: string[]) => {
      const call = callOf(world, netns, addresses);
      const before = started;
      assertDone(await callBuiltin("bridge", { ...call, verb: "ADD" }, run));
      const programs = started - before;
      assertEquals(await sh("ip -6 -o addr show dev eth0 tentative", netns), "");
      assertDone(await callBuiltin("bridge", { ...call, verb: "DEL" }));
      return programs;
    };
    // The first one makes the bridge, and finds out once whether this host forwards IPv6.
    await programs(v4, v6);
    const both = await programs(v4, v6);
    assertEquals(both, await programs(v4));
    assert(both > 0);
  }),
});

/** The system, where the state of ports is another one for a while. */
function withState(state: string, looks: number): RunCommand {
  let left = looks;
  return async (request) => {
    const outcome = await runCommand(request);
    if (!outcome.stdout.includes('"operstate"') || left-- <= 0) return outcome;
    return { ...outcome, stdout: outcome.stdout.replace(/"operstate":\s*"UP"/g, `"operstate":"${state}"`) };
  };
}

Deno.test({
  name: "U8 an ADD waits until its port is up, and one that does not come up is a warning",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns, [`${world.subnet4}.7/24`]);
    const added = await callBuiltin("bridge", { ...call, verb: "ADD" }, withState("LOWERLAYERDOWN", 10));
    assertDone(added);
    assertEquals(added.stderr, "");
    const hostName = added.document.interfaces[1].name;
    const lines: string[] = [];
    const wait = { hostName, known: undefined, log: (line: string) => void lines.push(line), longestMs: 50 };
    const signal = new AbortController().signal;
    const link = await waitForPort({ run: withState("LOWERLAYERDOWN", Infinity), signal }, wait);
    assertEquals(link.name, hostName);
    assertStringIncludes(lines.join(), `the state of port "${hostName}" is LOWERLAYERDOWN after 0.05 s`);
    // The deadline of the caller ends it, and a port that is gone.
    const ended = AbortSignal.abort(new Error("the deadline"));
    const run = withState("LOWERLAYERDOWN", Infinity);
    await assertRejects(() => waitForPort({ run, signal: ended }, { ...wait, longestMs: 60_000 }));
    await sh(`ip link del ${hostName}`);
    await assertRejects(() => waitForPort({ run, signal }, wait), Error, "it is gone");
  }),
});

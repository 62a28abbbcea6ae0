import { assert, assertEquals } from "@std/assert";
import { bridge } from "../../lib/builtin/bridge.ts";
import { parseJson } from "../../lib/cni/json.ts";
import { asResult, decodeResult } from "../../lib/cni/result.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { servePlugin } from "../../lib/plugin/serve.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, masqueradeRules, sh } from "./builtin_world.ts";
import { need } from "./need.ts";
import { stopAtEachProgram } from "./stopped_add.ts";

Deno.test({
  name: "bridge: an ADD that is stopped at any of its programs leaves no interface and no rule",
  ...need("root", "ip", "iptables"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const containerId = `c-${world.tag}`;
    const config = {
      cniVersion: "1.1.0",
      name: `net-${world.tag}`,
      type: "bridge",
      bridge: world.bridge,
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", dataDir: world.dir, subnet: `${world.subnet4}.0/24` },
    };
    const call = { containerId, netns, ifName: "eth0", config };
    const env: Record<string, string> = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: "/nowhere",
    };
    /** Runs ADD and fires the signal when the program with that number has begun (or ended). */
    const stopAt = async (number: number, when: "begun" | "ended"): Promise<boolean> => {
      const stop = new AbortController();
      let started = 0;
      const run: RunCommand = async (request) => {
        const isIt = started++ === number;
        const ending = runCommand(request);
        if (isIt && when === "begun") stop.abort(new Error("stopped"));
        const outcome = await ending;
        if (isIt) stop.abort(new Error("stopped"));
        return outcome;
      };
      await servePlugin(bridge, {
        env: (name) => env[name],
        stdin: () => Promise.resolve(JSON.stringify(config)),
        signal: stop.signal,
        run,
        delegate: async (type, ipam, verb = "ADD") => {
          const { document } = await callBuiltin(type, { ...call, config: ipam as typeof config, verb });
          return verb === "ADD"
            ? asResult(decodeResult(parseJson(JSON.stringify(document)), "1.1.0"))
            : undefined;
        },
      });
      return stop.signal.aborted;
    };
    let stops = 0;
    for (let number = 0;; number++) {
      for (const when of ["begun", "ended"] as const) {
        const stopped = await stopAt(number, when);
        if (!stopped) {
          assert(stops >= 10, `${stops} stops`);
          assertDone(await callBuiltin("bridge", { ...call, verb: "DEL" }));
          return;
        }
        stops++;
        const left = await sh("ip -o link show type veth", netns);
        const ended = when === "ended" && left !== "";
        // Stopped after its last program, ADD has succeeded.
        if (ended) assertDone(await callBuiltin("bridge", { ...call, verb: "DEL" }));
        else assertEquals(left, "", `${number} ${when}`);
        assertEquals(await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`), "");
        assertEquals(await masqueradeRules(containerId), [], `${number} ${when}`);
        const held = Array.from(Deno.readDirSync(world.dir)).length === 0
          ? []
          : Array.from(Deno.readDirSync(`${world.dir}/net-${world.tag}`), ({ name }) => name);
        assertEquals(held.filter((name) => name.startsWith(world.subnet4)), [], `${number} ${when}`);
      }
    }
  }),
});

for (const type of ["bridge", "ptp"] as const) {
  Deno.test({
    name: `${type}: an ADD that is stopped at any of its programs frees its addresses itself`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const ipam = { type: "host-local", dataDir: world.dir, subnet: `${world.subnet4}.0/24` };
      const more = type === "bridge" ? { bridge: world.bridge, isGateway: true } : {};
      const config = { cniVersion: "1.1.0", name: `net-${world.tag}`, type, ...more, ipam };
      const call = { type, config, containerId: `c-${world.tag}`, netns, ifName: "eth0" };
      await stopAtEachProgram(call, (number) => {
        const dir = Array.from(Deno.readDirSync(world.dir)).length === 0
          ? []
          : Deno.readDirSync(`${world.dir}/net-${world.tag}`);
        const held = Array.from(dir, ({ name }) => name).filter((name) => name.startsWith(world.subnet4));
        assertEquals(held, [], `program ${number}`);
      });
    }),
  });
}

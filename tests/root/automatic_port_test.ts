// A port of the host that podwire chooses, from the request to the connection, with the built-in plugins.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../../lib/cli/main.ts";
import { printJson } from "../../lib/cni/json.ts";
import { sandboxToJson } from "../../lib/runtime/json_view.ts";
import { AUTOMATIC_PORTS } from "../../lib/state/automatic_ports.ts";
import { FakeIo } from "../cli/fake_io.ts";
import { sh } from "./builtin_world.ts";
import { need } from "./need.ts";
import { PeerServer, seenAs } from "./plugins_traffic.ts";
import { SandboxWorld } from "./sandbox_world.ts";

/** Removes the rules of one container: those of other tests are in the same chains. */
async function removeRules(containerId: string): Promise<void> {
  const lines = (await sh("nft -a list table ip cni_hostport")).split("\n");
  const removals: string[] = [];
  let chain = "";
  for (const line of lines) {
    chain = /^\s*chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const [, handle] = /# handle (\d+)$/.exec(line) ?? [];
    if (!line.includes(containerId) || handle === undefined) continue;
    removals.push(`delete rule ip cni_hostport ${chain} handle ${handle}`);
  }
  assert(removals.length > 0, lines.join("\n"));
  await sh(`nft '${removals.join("; ")}'`);
}

Deno.test({
  name: "a port that podwire chooses leads to the sandbox, is shown, checked, and free after it",
  ...need("root", "ip", "nft"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    const bridge = `pwh${crypto.randomUUID().slice(0, 8)}`;
    const ipam = { type: "host-local", dataDir: `${world.dir}/addresses`, subnet: "10.78.3.0/24" };
    const plugins = [
      { type: "bridge", bridge, isDefaultGateway: true, ipam },
      { type: "portmap", backend: "nftables", capabilities: { portMappings: true } },
    ];
    const list = JSON.stringify({ cniVersion: "1.0.0", name: "web", plugins });
    await Deno.writeTextFile(`${world.confDir}/web.conflist`, list);
    const podwire = world.podwire({ pluginDirs: [], builtinPolicy: "prefer" });
    try {
      const request = { name: "web", publish: [":80", { hostPort: "auto", containerPort: 81 } as const] };
      const sandbox = await podwire.sandboxes.run(request);
      const ports = sandbox.networks[0]?.ports ?? [];
      assertEquals(ports.map(({ containerPort }) => containerPort), [80, 81]);
      const { hostPort = 0 } = ports[0] ?? {};
      assert(hostPort >= AUTOMATIC_PORTS.first && hostPort < AUTOMATIC_PORTS.last, `${hostPort}`);
      assertEquals(ports[1]?.hostPort, hostPort + 1);
      await using _listener = await PeerServer.start(sandbox.netns, 80);
      assertEquals(await seenAs("/proc/self/ns/net", "10.78.3.1", hostPort), "10.78.3.1");
      const again = await podwire.sandboxes.get("web");
      assertEquals(again.networks[0]?.ports, ports);
      assertMatch(printJson(sandboxToJson(again)), new RegExp(`"hostPort":${hostPort},"containerPort":80`));
      const dirs = ["conf", "state", "cache", "netns"].map((name) => `--${name}-dir=${world.dir}/${name}`);
      const port = async (...args: string[]) => {
        const io = new FakeIo([...dirs, "port", ...args], { env: { PATH: Deno.env.get("PATH") ?? "" } });
        return { code: await main(io), text: io.stdout + io.stderr };
      };
      const range = `${hostPort}-${hostPort + 1}->80-81/tcp`;
      assertEquals(await port("web"), { code: 0, text: `${range}\n` });
      assertEquals(await port("web", "80"), { code: 0, text: `${hostPort}\n` });
      assertEquals(JSON.parse((await port("web", "81/TCP", "--json")).text), [ports[1]]);
      const none = "no port of the host leads to the port";
      assertStringIncludes((await port("web", "80/udp")).text, `${none} 80/udp of the sandbox "web"`);
      assertStringIncludes((await port("web", "web")).text, '"web" is not PORT[/PROTO]');
      assertEquals((await podwire.sandboxes.check("web")).ready, true);
      await removeRules(sandbox.id);
      assertEquals((await podwire.sandboxes.check("web")).ready, false);
      const other = await podwire.sandboxes.run({ name: "other", publish: [":80"] });
      assert(!ports.some((port) => port.hostPort === other.networks[0]?.ports?.[0]?.hostPort));
      for (const name of ["web", "other"]) await podwire.sandboxes.remove(name);
      assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`)), []);
    } finally {
      await world.sh('ip link delete "$1" 2>/dev/null || :', bridge);
    }
  },
});

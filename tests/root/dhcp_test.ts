// Addresses of a real DHCP server, by the plugin `dhcp` and its daemon, which `podwire serve` keeps running.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { mayCheckAgain } from "../../lib/attachment/repeated_check.ts";
import { builtins } from "../../lib/builtin/mod.ts";
import { parseConfigList } from "../../lib/cni/config.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import { streamOverUnix } from "../../lib/host/http_over_unix.ts";
import { DHCP_SOCKET } from "../../lib/plugin/dhcp.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import type { BuiltinPolicy } from "../../lib/plugin/locate.ts";
import { leaveDeadSocket } from "../dead_socket.ts";
import { isThere, sh, until } from "./binary_world.ts";
import { DaemonProcess } from "./daemon_world.ts";
import {
  addressesIn,
  dhcpDaemons,
  dhcpPlugin,
  dhcpSocket,
  dhcpTest,
  events,
  install,
  leased,
  leases,
} from "./dhcp_world.ts";
import { need } from "./need.ts";
import { RELEASES } from "./plugins_world.ts";

dhcpTest(
  "U55 serve starts the DHCP daemon, whose leases are given, renewed and released",
  async (world, server, release) => {
    await using daemon = await DaemonProcess.start(world);
    assertEquals((await dhcpDaemons(world)).length, 1);
    assertEquals(await events(world, daemon, "daemon-started"), 1);
    const address = await leased(world, "web", "--mac=02:00:00:00:00:77");
    assertMatch(
      await addressesIn(world, "web"),
      new RegExp(`^eth0\\S* +UP +${address.replaceAll(".", "\\.")}/24`),
    );
    const route = await world.done(["exec", "web", "--", "ip", "route", "show", "default"]);
    assertStringIncludes(route, `default via ${world.subnet4}.1`);
    const lease = { mac: "02:00:00:00:00:77", address, host: "web", isOver: false };
    assertEquals(await server.leaseOf(address), lease);
    await until("it is renewed", async () => await server.confirmed(address) > 2);
    for (let round = 0; round < 3; round++) await world.done(["check", "web"]);
    await world.done(["rm", "-f", "web"]);
    assert(await server.isReleased(address, release));
    const log = await daemon.end();
    assertEquals(log.filter(({ msg }) => /^dhcp: .*acquiring lease$/.test(String(msg))).length, 1);
    assertEquals(await dhcpDaemons(world), []);
    assertEquals(await isThere(dhcpSocket(world)), false);
  },
  { lease: 6 },
);

dhcpTest(
  "U53 a DHCP daemon that is killed is started again, and renews what it has lost",
  async (world, server, release) => {
    await using daemon = await DaemonProcess.start(world);
    const address = await leased(world, "web");
    const [first] = await dhcpDaemons(world);
    const seen = await eventsOf(daemon, 3);
    const before = await server.confirmed(address);
    await sh(`kill -9 ${first}`);
    await until(
      "the lease is back",
      async () => await leases(daemon, "renewed") === 1,
    );
    assert(await server.confirmed(address) > before);
    assertEquals((await dhcpDaemons(world)).length, 1);
    assertEquals(await events(world, daemon, "daemon-ended"), 1);
    assertEquals(await events(world, daemon, "daemon-started"), 2);
    const socket = dhcpSocket(world);
    const attachment = { containerId: world.id("web"), network: world.network, ifName: "eth0" };
    assertEquals(await seen(), [
      { socket, event: "daemon-ended" },
      { socket, event: "daemon-started", pid: (await dhcpDaemons(world))[0] },
      { socket, event: "lease", attachment, outcome: "renewed", address: `${address}/24` },
    ]);
    // The new daemon holds it: it gives it back.
    await world.done(["rm", "-f", "web"]);
    assert(await server.isReleased(address, release));
    await daemon.end();
  },
);

dhcpTest(
  "U53 a killed serve leaves no second DHCP daemon, and the next one renews the leases",
  async (world, server, release) => {
    const killed = await DaemonProcess.start(world);
    const address = await leased(world, "web");
    const [orphan] = await dhcpDaemons(world);
    killed.child.kill("SIGKILL");
    await killed.child.status;
    assertEquals(await dhcpDaemons(world), [orphan], "it goes on without serve");
    const before = await server.confirmed(address);
    await using daemon = await DaemonProcess.start(world);
    await until("the lease is back", async () => await leases(daemon, "renewed") === 1);
    const now = await dhcpDaemons(world);
    assertEquals([now.length, now.includes(orphan ?? 0)], [1, false]);
    assert(await server.confirmed(address) > before);
    await world.done(["rm", "-f", "web"]);
    assert(await server.isReleased(address, release));
    await daemon.end();
    assertEquals(await dhcpDaemons(world), []);
  },
);

dhcpTest(
  "a DHCP daemon that another service runs is used, is left alone, and gets the leases again when it has been started anew",
  async (world, server, release) => {
    const args = ["daemon", "-socketpath", dhcpSocket(world)];
    const program = `${RELEASES[release].folder}/dhcp`;
    const start = async () => {
      const child = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" })
        .spawn();
      await until("it listens", async () => await isThere(dhcpSocket(world)));
      return child;
    };
    let foreign = await start();
    await using daemon = await DaemonProcess.start(world);
    const address = await leased(world, "web");
    assertEquals(await dhcpDaemons(world), [foreign.pid]);
    foreign.kill("SIGKILL");
    await foreign.status;
    await until("its end is seen", async () => await events(world, daemon, "daemon-ended") === 1);
    await Deno.remove(dhcpSocket(world));
    const before = await server.confirmed(address);
    foreign = await start();
    await until("the lease is back", async () => await leases(daemon, "renewed") === 1);
    assert(await server.confirmed(address) > before);
    assertEquals(await events(world, daemon, "daemon-started"), 0);
    await daemon.end();
    assertEquals(await dhcpDaemons(world), [foreign.pid]);
    await world.done(["rm", "-f", "web"]);
    assert(await server.isReleased(address, release));
    foreign.kill("SIGKILL");
    await foreign.status;
  },
);

dhcpTest(
  "a DHCP daemon that was there before serve is asked for what it cannot know, and for nothing twice",
  async (world, _server, release) => {
    const socket = dhcpSocket(world);
    const program = `${RELEASES[release].folder}/dhcp`;
    const log = `${world.dir}/dhcp.log`;
    const start = async () => {
      const args = ["-c", 'exec "$@" 2>>"$0"', log, program, "daemon", "-socketpath", socket];
      const child = new Deno.Command("sh", { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
      await until("it listens", async () => await isThere(socket));
      return child;
    };
    const end = async (child: Deno.ChildProcess) => {
      child.kill("SIGKILL");
      await child.status;
      await Deno.remove(socket);
    };
    const first = await start();
    await leased(world, "old");
    await end(first);
    const second = await start();
    await leased(world, "new");
    await using daemon = await DaemonProcess.start(world);
    // To ask an older release for a lease that it has begins another one.
    const asked = release === "1.1.1" ? 1 : 2;
    await until("it is asked", async () => await leases(daemon, "renewed") === asked);
    for (const name of ["old", "new"]) await world.done(["rm", "-f", name]);
    const lines = (await Deno.readTextFile(log)).split("\n");
    const acquired = (name: string) =>
      lines.filter((line) => line.includes(` ${world.id(name)}/`) && line.endsWith("acquiring lease")).length;
    assertEquals({ old: acquired("old"), new: acquired("new") }, { old: 2, new: 1 });
    await daemon.end();
    await end(second);
  },
);

dhcpTest(
  "without a DHCP daemon nothing is attached, and the error says what is missing",
  async (world) => {
    const socket = dhcpSocket(world);
    for (const stale of [false, true]) {
      const error = await world.refused(6, ["run", "web", "--id", world.id("web")]);
      assertEquals(error.msg, `no DHCP daemon listens at ${socket}`);
      assertStringIncludes(error.hint, "`podwire serve` starts it");
      const { code, stdout } = await world.podwire(["status"]);
      assertEquals(code, 6);
      assertMatch(stdout, new RegExp(`no +plugin-not-ready .*no DHCP daemon listens at ${socket}`));
      assertEquals(await world.done(["ps", "-q"]), "");
      assertEquals(
        (await world.traces()).filter((trace) => !/^state\/readiness\.json$|: pwd-/.test(trace)),
        [],
      );
      // What a daemon leaves that is killed.
      if (!stale) await leaveDeadSocket(socket);
    }
    // The socket of the dead one is in the way of a new one.
    await using daemon = await DaemonProcess.start(world);
    assertEquals((await dhcpDaemons(world)).length, 1);
    await world.done(["status", world.network]);
    await daemon.end();
  },
);

dhcpTest(
  "U59 the lease is given back when the namespace is gone, and a DEL succeeds without a DHCP daemon",
  async (world, server, release) => {
    await using daemon = await DaemonProcess.start(world);
    const address = await leased(world, "web");
    await leased(world, "left");
    await sh(
      `umount -l ${world.netnsDir}/podwire-${world.id("web")} && rm ${world.netnsDir}/podwire-${
        world.id("web")
      }`,
    );
    assertEquals(await world.done(["rm", "-f", "web"]), "");
    assert(await server.isReleased(address, release));
    await daemon.end();
    assertEquals(await dhcpDaemons(world), []);
    const { code, stderr } = await world.podwire(["rm", "-f", "left", "--log-level=info"]);
    assertEquals(code, 0);
    assertStringIncludes(stderr, "the server has the lease until its time is over");
    assertEquals(await world.json(["attachments"]), []);
  },
);

dhcpTest("U58 twenty sandboxes in a row have one MAC address", async (world, server) => {
  await using daemon = await DaemonProcess.start(world);
  const mac = "02:00:00:00:00:20";
  for (let round = 0; round < 20; round++) {
    const address = await leased(world, "web", `--mac=${mac}`);
    assertEquals((await server.leaseOf(address))?.mac, mac);
    await world.done(["rm", "-f", "web"]);
  }
  assertEquals((await server.book()).filter((lease) => lease.mac === mac).length, 1);
  await daemon.end();
}, { releases: ["1.9.1"] });

dhcpTest(
  "an address that the server has changed is reported, and the container keeps its own",
  async (world, server) => {
    await using daemon = await DaemonProcess.start(world);
    const address = await leased(world, "web");
    const before = await addressesIn(world, "web");
    await server.end();
    await sh(`kill -9 ${await dhcpDaemons(world)}`);
    await until("another one asks", async () => await events(world, daemon, "daemon-started") === 2);
    await server.begin({ range: [150, 160] });
    await until("the change is seen", async () => await leases(daemon, "changed") === 1);
    assertEquals(await addressesIn(world, "web"), before);
    await world.done(["rm", "-f", "web"]);
    const { attached, msg } = (await daemon.end()).find(({ level, msg }) =>
      level === "warn" && String(msg).includes("gave")
    )!;
    assertEquals(attached, undefined);
    assertMatch(
      String(msg),
      new RegExp(
        `^the DHCP server gave ${world.subnet4}\\.1[56]\\d/24, but the container has ${address}/24, and keeps it$`,
      ),
    );
  },
  { releases: ["1.9.1"] },
);

dhcpTest(
  "a plugin dhcp that others can write is not started, and neither is one with --no-dhcp",
  async (world) => {
    await sh(`chmod o+w ${world.pluginDir}/dhcp`);
    {
      await using daemon = await DaemonProcess.start(world);
      assertEquals(await dhcpDaemons(world), []);
      assertEquals(await events(world, daemon, "daemon-failed"), 1);
      const log = await daemon.end();
      assertStringIncludes(
        String(log.find(({ level }) => level === "error")?.msg),
        `Cannot keep a DHCP daemon at ${
          dhcpSocket(world)
        }: ${world.pluginDir}/dhcp: the plugin is not started`,
      );
    }
    await sh(`chmod o-w ${world.pluginDir}/dhcp`);
    await using daemon = await DaemonProcess.start(world, ["--no-dhcp"]);
    assertEquals(await dhcpDaemons(world), []);
    await daemon.end();
  },
  { releases: ["1.9.1"] },
);

dhcpTest(
  "a file that is not a socket stays, and a network that comes later gets its DHCP daemon",
  async (world) => {
    await Deno.writeTextFile(dhcpSocket(world), "mine");
    const { bridge } = world;
    await Deno.remove(`${world.confDir}/${world.network}.conflist`);
    await using daemon = await DaemonProcess.start(world);
    assertEquals(await events(world, daemon, "daemon-failed"), 0, "no network needs one");
    await world.list([dhcpPlugin(world, { bridge })]);
    await until("it is tried", async () => await events(world, daemon, "daemon-failed") === 1);
    assertEquals(await Deno.readTextFile(dhcpSocket(world)), "mine");
    await Deno.remove(dhcpSocket(world));
    await until("it listens", async () => await events(world, daemon, "daemon-started") === 1);
    await leased(world, "web");
    await world.done(["rm", "-f", "web"]);
    await Deno.remove(`${world.confDir}/${world.network}.conflist`);
    await until("it is not needed any more", async () => (await dhcpDaemons(world)).length === 0);
    await daemon.end();
  },
  { releases: ["1.9.1"] },
);

dhcpTest(
  "the original bridge gets its leases too, and its DEL without a DHCP daemon says what is missing",
  async (world, _server, release) => {
    await install(world, release, "bridge");
    await using daemon = await DaemonProcess.start(world);
    await leased(world, "web");
    await world.done(["check", "web"]);
    await daemon.end();
    const { code, stderr } = await world.podwire(["rm", "-f", "web"]);
    assertEquals(code, 0);
    assertStringIncludes(stderr, "error dialing DHCP daemon");
    const [{ error }] = await world.json(["attachments"]);
    assertStringIncludes(
      error.hint,
      `no DHCP daemon listens at ${dhcpSocket(world)}: \`podwire serve\` starts it`,
    );
    await using again = await DaemonProcess.start(world);
    await until("it is detached", async () => (await world.json(["attachments"])).length === 0);
    await again.end();
  },
  {},
);

dhcpTest(
  "U56 an interface of macvlan and one of the host get leases too, and give them back",
  async (world, server, release) => {
    const { tag, bridge, network } = world;
    const master = `pwm-${tag}`;
    await sh(`ip link add ${master} type veth peer name pwp-${tag} &&
      ip link set pwp-${tag} master ${bridge} up && ip link set ${master} up`);
    try {
      for (const plugin of [{ type: "macvlan", master }, { type: "host-device", device: master }]) {
        const { bridge: _, ...more } = dhcpPlugin(world, plugin);
        await world.list([more]);
        await using daemon = await DaemonProcess.start(world);
        const address = await leased(world, "web");
        assertStringIncludes(await addressesIn(world, "web"), `${address}/24`);
        assertEquals((await world.json(["inspect", "web"])).networks[0].name, network);
        await world.done(["check", "web"]);
        await world.done(["rm", "-f", "web"]);
        assert(await server.isReleased(address, release), plugin.type);
        await daemon.end();
      }
    } finally {
      await sh(`ip link del ${master}`);
    }
  },
);

dhcpTest(
  "a server that does not answer after a restart is asked until it does",
  async (world, server) => {
    await using daemon = await DaemonProcess.start(world, ["--timeout=ADD=6s"]);
    const address = await leased(world, "web");
    await server.end();
    await sh(`kill -9 ${await dhcpDaemons(world)}`);
    await until("it has failed", async () => await leases(daemon, "failed") === 1);
    assertEquals((await world.json(["ps"]))[0].state, "ready");
    await server.begin();
    await until(
      "the lease is back",
      async () => await leases(daemon, "renewed") + await leases(daemon, "changed") === 1,
    );
    assertStringIncludes(await addressesIn(world, "web"), address);
    await world.done(["rm", "-f", "web"]);
    await daemon.end();
  },
);

dhcpTest(
  "U54 a network that was created asks at the usual socket, and an ADD without a lease ends in time, and says why",
  async (world, server) => {
    const { network, bridge } = world;
    await Deno.remove(`${world.confDir}/${network}.conflist`);
    const options = ["--option", `bridge=${bridge}`, "--option", "ipam=dhcp"];
    await world.done(["network", "create", network, ...options]);
    await using daemon = await DaemonProcess.start(world, ["--timeout=ADD=6s"]);
    const address = await leased(world, "web", `--network=${network}`);
    assertEquals((await server.leaseOf(address))?.host, "web");
    await server.end();
    const late = ["run", "late", "--id", world.id("late"), `--network=${network}`];
    const error = await world.refused(1, late);
    assertStringIncludes(error.msg, "error calling DHCP.Allocate: ");
    assertEquals(error.ifName, "eth0");
    assertStringIncludes(error.hint, "the DHCP server gave no lease");
    await world.done(["rm", "-f", "web"]);
    assertEquals(await world.json(["attachments"]), []);
    await world.done(["network", "rm", network]);
    await until("no daemon is needed any more", async () => !await isThere(DHCP_SOCKET));
    await daemon.end();
  },
  { releases: ["1.9.1"] },
);

for (const release of ["1.1.1", "1.9.1"] as const) {
  const { folder, needs } = RELEASES[release];
  Deno.test({
    name: `a CHECK is not repeated by itself if each one begins another lease: plugins ${release}`,
    ...need(needs),
    fn: async () => {
      const { signal } = new AbortController();
      const mayRepeat = async (builtinPolicy: BuiltinPolicy, ipam: JsonObject) => {
        const plugins = [{ type: "bridge", ipam }];
        const list = parseConfigList(JSON.stringify({ cniVersion: "1.0.0", name: "n", plugins }));
        const runner = new PluginRunner({
          pluginDirs: [folder],
          builtins,
          builtinPolicy,
          allowUnsafeFiles: true,
        });
        return await mayCheckAgain(list, { runner, run: runCommand }, signal);
      };
      assertEquals(await mayRepeat("off", { type: "dhcp" }), release === "1.9.1");
      assertEquals(await mayRepeat("off", { type: "host-local" }), true);
      // The built-in plugin does not call it.
      assertEquals(await mayRepeat("prefer", { type: "dhcp" }), true);
    },
  });
}

/** Subscribes to the events, and returns what waits for the next ones about DHCP, of that number. */
async function eventsOf(daemon: DaemonProcess, count: number): Promise<() => Promise<readonly unknown[]>> {
  const stream = await streamOverUnix(daemon.socket, { method: "GET", target: "/v1/events", body: "" });
  return async () => {
    using _open = stream;
    let text = "";
    for await (const more of stream.text) {
      text += more;
      const lines = text.split("\n").slice(0, -1).filter((line) => line.startsWith("data: {"));
      const events = lines.map((line) => JSON.parse(line.slice("data: ".length)));
      const dhcp = events.flatMap(({ type, dhcp }) => type === "dhcp" ? [dhcp] : []);
      if (dhcp.length >= count) return dhcp;
    }
    throw new Error(`the stream has ended: ${text}`);
  };
}

// Labels, filters, sysctls, and the namespaces of processes and of the host, with the compiled program.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { binaryTest, sh } from "./binary_world.ts";

binaryTest("ps lists the sandboxes that match all filters", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  const [web, db] = [world.id("web"), world.id("db")];
  const made = await world.json(["run", "web", "--id", web, "--label", "app=web", "-l", "canary="]);
  assertEquals(made.labels, { app: "web", canary: "" });
  await world.done(["run", "db", "--id", db, "--label=app=db", "--namespace=prod"]);
  await world.done(["stop", "db", "--namespace=prod"]);
  const ids = async (...filters: string[]) =>
    (await world.done(["ps", "-q", ...filters.flatMap((text) => ["--filter", text])])).split("\n").filter(
      Boolean,
    );
  assertEquals(await ids(), [web, db]);
  assertEquals(await ids("label=app"), [web, db]);
  assertEquals(await ids("label=app=web"), [web]);
  assertEquals(await ids("label=canary", "state=ready"), [web]);
  assertEquals(await ids("state=stopped"), [db]);
  assertEquals(await ids("label=app=web", "state=stopped"), []);
  assertEquals(await ids("name=db"), [db]);
  assertEquals(await ids(`id=${web.slice(0, 4)}`), [web]);
  assertEquals(await world.json(["ps", "--namespace=prod", "--filter=name=web"]), []);
  assertMatch(await world.done(["inspect", "web"]), /^label +app=web$/m);
  assertEquals((await world.refused(2, ["ps", "--filter", "state=up"])).kind, "usage");
  await world.done(["rm", "web"]);
  await world.done(["rm", "--namespace=prod", "db"]);
  assertEquals((await world.refused(3, ["rm", "web"])).kind, "not-found");
  await world.done(["rm", "-f", "web"]);
  assertEquals(await world.traces(), []);
});

binaryTest("run sets sysctls in the namespace, and names the one that cannot be set", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  const id = world.id("web");
  const key = "net.ipv4.ip_unprivileged_port_start";
  const before = await sh(`sysctl -n ${key}`);
  await world.done(["run", "--id", id, `--sysctl=${key}=77`]);
  assertEquals(await world.done(["exec", id, "--", "sysctl", "-n", key]), "77\n");
  assertEquals(await sh(`sysctl -n ${key}`), before);
  await world.done(["rm", id]);
  const failed = await world.refused(1, ["run", "--id", id, "--sysctl=net.ipv4.nothing=1"]);
  assertMatch(failed.msg, /Cannot set the sysctl "net.ipv4.nothing" to "1"/);
  assertEquals((await world.refused(2, ["run", "--id", id, "--sysctl=kernel.shmmax=1"])).kind, "usage");
  assertEquals((await world.refused(2, ["run", "--host-network", `--sysctl=${key}=1`])).kind, "usage");
  assertEquals(await world.traces(), []);
});

binaryTest(
  "a sandbox in the host's namespace runs commands there, and changes nothing in it",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("agent");
    const made = await world.json(["run", "agent", "--id", id, "--host-network"]);
    assertEquals({ state: made.state, hostNetwork: made.hostNetwork, networks: made.networks }, {
      state: "ready",
      hostNetwork: true,
      networks: [],
    });
    const own = await Deno.readLink("/proc/self/ns/net");
    assertEquals((await world.done(["exec", "agent", "--", "readlink", "/proc/self/ns/net"])).trim(), own);
    assertMatch(await world.done(["inspect", "agent"]), /\(of the host\)/);
    for (const more of [["--network", world.network], ["--publish=1:1"], ["--netns=/x"]]) {
      assertEquals((await world.refused(2, ["run", "--host-network", ...more])).kind, "usage");
    }
    await world.done(["stop", "agent"]);
    assertEquals((await world.refused(1, ["exec", "agent", "--", "true"])).kind, "conflict");
    await world.done(["rm", "agent"]);
    assert((await sh("ip -o link")).includes("lo"));
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "exec enters the namespace that was made, or reports that its path leads elsewhere",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    const { netns } = await world.json(["run", "web", "--id", id]);
    const { ino } = await Deno.stat(netns);
    assertEquals(await world.done(["exec", "web", "--", "readlink", "/proc/self/ns/net"]), `net:[${ino}]\n`);
    await sh(`umount ${netns} && mount --bind /proc/self/ns/net ${netns}`);
    const refused = await world.refused(1, ["exec", "web", "--", "true"]);
    assertMatch(refused.msg, /Cannot enter sandbox "web": it is broken: .* leads to another namespace now/);
    await sh(`umount ${netns} && rm ${netns}`);
    await world.done(["rm", "web"]);
    assertEquals(await world.traces(), []);
  },
);

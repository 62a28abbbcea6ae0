// The whole life of a sandbox with the compiled program, with the built-in plugins and with real ones.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { binaryTest, type BinaryWorld, isThere, sh } from "./binary_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";

const BUILTIN_OPTIONS = ["--builtin=prefer"];

/** Every step in the life of a sandbox. */
async function lifecycle(world: BinaryWorld, options: readonly string[]): Promise<void> {
  const id = world.id("web");
  const call = { dirs: [...world.dirs, ...options] };
  const sandbox = await world.json(["run", "web", "--id", id], call);

  assertEquals({ id: sandbox.id, name: sandbox.name, namespace: sandbox.namespace, uid: sandbox.uid }, {
    id,
    name: "web",
    namespace: "default",
    uid: id,
  });
  assertEquals({ state: sandbox.state, pid: sandbox.pid, netns: sandbox.netns }, {
    state: "ready",
    pid: null,
    netns: `${world.netnsDir}/podwire-${id}`,
  });
  assertEquals(sandbox.ips, [`${world.subnet4}.2`, `${world.subnet6}::2`]);
  assertMatch(sandbox.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const [network] = sandbox.networks;
  assertEquals({ networksCount: sandbox.networks.length, name: network.name, ifName: network.ifName }, {
    networksCount: 1,
    name: world.network,
    ifName: "eth0",
  });
  assertEquals({ cniVersion: network.result.cniVersion, address: network.result.ips[0].address }, {
    cniVersion: "1.1.0",
    address: `${world.subnet4}.2/24`,
  });

  const links = JSON.parse(await world.done(["exec", "web", "--", "ip", "-j", "addr"], call));
  const eth0 = links.find(({ ifname }: { ifname: string }) => ifname === "eth0");
  const addresses = eth0.addr_info.filter(({ scope }: { scope: string }) => scope === "global")
    .map(({ local }: { local: string }) => local);
  assertEquals(addresses, sandbox.ips);
  assertEquals(links[0].flags.includes("UP"), true, "lo is up");

  assertEquals(await world.json(["inspect", "web"], call), sandbox);
  assertEquals(await world.json(["inspect", id.slice(0, 8)], call), sandbox);
  assertEquals(await world.json(["ps"], call), [sandbox]);
  const [headings = "", row = ""] = (await world.done(["ps"], call)).split("\n");
  assertMatch(headings, /^ID +NAMESPACE +NAME +STATE +CREATED +IPS +NETWORKS$/);
  assertMatch(
    row,
    new RegExp(`^${id} +default +web +ready +.* ${sandbox.ips.join(",")} +${world.network}:eth0$`),
  );
  assertEquals(await world.done(["ps", "-q"], call), `${id}\n`);
  const text = await world.done(["inspect", "web"], call);
  assertMatch(
    text,
    new RegExp(
      `^network +${world.network} on eth0: ${world.subnet4}.2/24, ${world.subnet6}::2/64 \\(default route for IPv4\\)$`,
      "m",
    ),
  );
  assertMatch(
    await world.done(["attachments"], call),
    new RegExp(`^${id} +${world.network} +eth0 +attached `, "m"),
  );
  const [attachment] = await world.json(["attachments"], call);
  assertEquals({
    containerId: attachment.containerId,
    network: attachment.network,
    ifName: attachment.ifName,
  }, { containerId: id, network: world.network, ifName: "eth0" });
  assertEquals({ state: attachment.state, owner: attachment.owner, attempts: attachment.attempts }, {
    state: "attached",
    owner: `sandbox:${id}`,
    attempts: 0,
  });
  assertEquals({ nextTry: attachment.nextTry, error: attachment.error }, { nextTry: null, error: null });
  assert(await isThere(`${world.dataDir}/${world.network}/${world.subnet4}.2`));

  assertEquals((await world.refused(1, ["run", "web"], call)).kind, "conflict");
  for (let round = 0; round < 2; round++) {
    assertEquals(await world.done(["stop", "web"], call), "");
    const stopped = await world.json(["inspect", "web"], call);
    assertEquals({ state: stopped.state, ips: stopped.ips, networks: stopped.networks }, {
      state: "stopped",
      ips: [],
      networks: [],
    });
  }
  assertEquals(await isThere(sandbox.netns), false);
  assertEquals((await world.refused(1, ["exec", "web", "true"], call)).kind, "conflict");
  assertEquals(await world.done(["rm", "web"], call), "");
  assertEquals((await world.refused(3, ["rm", "web"], call)).kind, "not-found");
  assertEquals(await world.done(["rm", "-f", "web"], call), "");
  assertEquals(await world.json(["ps"], call), []);
  assertEquals(await world.traces(), []);
}

binaryTest("a sandbox is created and removed with built-in plugins", ["nft"], async (world) => {
  await world.list([world.bridgePlugin()]);
  await lifecycle(world, BUILTIN_OPTIONS);
});

const RELEASES: readonly [Component, string][] = [["cni-1.1.1", CNI_1_1_1], ["cni-1.9.1", CNI_1_9_1]];
for (const [component, dir] of RELEASES) {
  binaryTest(`a sandbox is created and removed with bridge, host-local and tuning of ${component}`, [
    component,
    "iptables",
  ], async (world) => {
    await world.list([world.bridgePlugin(), {
      type: "tuning",
      sysctl: { "net.ipv4.conf.IFNAME.arp_filter": "1" },
      mtu: 1400,
    }]);
    await lifecycle(world, [`--plugin-dir=${dir}`, "--builtin=off"]);
  });
}

binaryTest(
  "the embedded network needs no configuration, and is removed with its sandbox",
  [],
  async (world) => {
    const id = world.id("bare");
    // In the directory that `ip netns` reads, the state directory keeps the name apart from others.
    const dirs = world.dirs.filter((option) => !option.startsWith("--netns-dir"));
    const sandbox = await world.json(["run", "--id", id], { dirs });
    assertEquals(sandbox.name, `sandbox-${id.slice(0, 12)}`);
    assertEquals(sandbox.networks[0].name, "podwire");
    assertMatch(sandbox.ips[0], /^10\.209\./);
    const name = sandbox.netns.slice("/run/netns/".length);
    assert((await sh("ip netns list")).split("\n").some((line) => line.split(" ")[0] === name));
    assertEquals(await sh(`ip netns exec ${name} ip -o link show lo | grep -c LOOPBACK,UP`), "1\n");
    assertMatch(await sh(`ip -o link show master pw0`), new RegExp(id));
    assertEquals((await world.traces()).length > 3, true, "traces() sees what is there");

    await world.done(["rm", id], { dirs });
    assertEquals((await sh("ip netns list")).includes(name), false);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "the embedded network keeps the built-in plugins, whatever plugins are installed later",
  [],
  async (world) => {
    const old = `#!/bin/sh
      [ "$CNI_COMMAND" = VERSION ] && exec echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'
      echo '{"cniVersion":"1.0.0","code":1,"msg":"incompatible CNI versions"}' && exit 1`;
    await world.done(["run", "before", "--id", world.id("before")]);
    for (const type of ["bridge", "host-local"]) await world.plugin(type, old);
    const sandbox = await world.json(["run", "behind", "--id", world.id("behind")]);
    assertEquals({ name: sandbox.networks[0].name, state: sandbox.state }, {
      name: "podwire",
      state: "ready",
    });
    const [status] = await world.json(["status"]);
    assertEquals({ network: status.network, ready: status.ready }, { network: "podwire", ready: true });
    await world.done(["rm", "before", "behind"]);
    // The answers of status are kept.
    assertEquals((await world.traces()).filter((trace) => trace !== "state/readiness.json"), []);
  },
);

binaryTest("a sandbox is made in an existing namespace, which stays with its owner", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  const path = `${world.dir}/theirs`;
  await sh(`touch ${path} && unshare --net=${path} true`);
  try {
    const sandbox = await world.json(["run", "guest", "--id", world.id("guest"), "--netns", path]);
    assertEquals({ netns: sandbox.netns, state: sandbox.state }, { netns: path, state: "ready" });
    assertEquals(await sh(`nsenter --net=${path} ip -o link show lo | grep -c LOOPBACK,UP`), "1\n");
    await world.done(["rm", "guest"]);
    assertEquals(
      await sh(`nsenter --net=${path} ip -o link show eth0 2>&1 || :`),
      'Device "eth0" does not exist.\n',
    );
    assertEquals(await world.traces(), []);
  } finally {
    await sh(`umount ${path}`);
  }
});

binaryTest(
  "a sandbox takes the namespace of a process, and keeps it when that process ends",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const child = new Deno.Command("unshare", { args: ["--net", "sleep", "60"], stdin: "null" }).spawn();
    const own = await Deno.readLink("/proc/self/ns/net");
    while (await Deno.readLink(`/proc/${child.pid}/ns/net`) === own) {
      await new Promise((r) => setTimeout(r, 5));
    }
    const sandbox = await world.json(["run", "--id", world.id("pid"), "--pid", String(child.pid)]);
    assertEquals(sandbox.pid, child.pid);
    assertEquals((await Deno.stat(sandbox.netns)).ino, (await Deno.stat(`/proc/${child.pid}/ns/net`)).ino);
    child.kill("SIGKILL");
    await child.status;
    assertEquals((await world.json(["inspect", sandbox.id])).state, "ready");
    assert((await world.done(["exec", sandbox.id, "ip", "-br", "addr"])).includes(`${world.subnet4}.2/24`));
    await world.done(["rm", sandbox.id]);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "several networks, wanted addresses and a wanted MAC are set as requested",
  [],
  async (world) => {
    await world.list([world.bridgePlugin({ capabilities: { ips: true, mac: true } })]);
    const second = `${world.network}-b`;
    const ipam = {
      type: "host-local",
      dataDir: world.dataDir,
      subnet: `${world.subnet4}.0/24`,
      rangeStart: `${world.subnet4}.200`,
    };
    await world.list([{ type: "bridge", bridge: world.bridge, ipam }], { name: second });
    const wanted = [
      "--ip",
      `${world.subnet4}.77`,
      "--ip",
      `${world.subnet6}::77`,
      "--allow-overlap",
      "--mac",
      "02:00:00:00:07:07",
    ];
    const networks = ["--network", world.network, "--network", `${second}:net7`];
    const sandbox = await world.json(["run", "--id", world.id("two"), ...networks, ...wanted]);
    assertEquals(sandbox.ips, [`${world.subnet4}.77`, `${world.subnet6}::77`, `${world.subnet4}.200`]);
    assertEquals(
      sandbox.networks.map(({ name, ifName }: { name: string; ifName: string }) => [name, ifName]),
      [
        [world.network, "eth0"],
        [second, "net7"],
      ],
    );
    assert(
      (await world.done(["exec", sandbox.id, "ip", "link", "show", "eth0"])).includes("02:00:00:00:07:07"),
    );
    // All or nothing: the second network has an option that the plugin lacks, and the first network was
    // already up.
    await world.list([{ type: "bridge", bridge: world.bridge, mtu: "wide", ipam }], {
      name: `${world.network}-c`,
    });
    const bad = ["--allow-overlap", "--network", world.network, "--network", `${world.network}-c`];
    const refused = await world.refused(1, ["run", "--id", world.id("late"), ...bad]);
    assertEquals({ network: refused.network, plugin: refused.plugin, verb: refused.verb }, {
      network: `${world.network}-c`,
      plugin: "bridge",
      verb: "ADD",
    });
    assertEquals((await world.json(["attachments"])).length, 2, "those of the first sandbox only");
    await world.done(["rm", sandbox.id]);
    assertEquals(await world.traces(), []);
  },
);

binaryTest("run --replace takes the place of the sandbox that has the name", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  await world.done(["run", "web", "--id", world.id("old")]);
  const sandbox = await world.json(["run", "web", "--id", world.id("new"), "--replace"]);
  assertEquals((await world.json(["ps"])).map(({ id }: { id: string }) => id), [sandbox.id]);
  await world.done(["rm", "web"]);
  assertEquals(await world.traces(), []);
});

binaryTest(
  "one name in two namespaces is two sandboxes, and eight at once get eight addresses",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const names = ["a", "b", "c", "d"].flatMap((name) => [[name, "blue"], [name, "green"]] as const);
    const made = await Promise.all(
      names.map(([name, namespace]) =>
        world.json(["run", name, "--namespace", namespace, "--id", world.id(`${name}-${namespace}`)])
      ),
    );
    assertEquals(new Set(made.flatMap(({ ips }) => ips)).size, 16);
    assertEquals((await world.json(["ps", "--namespace", "blue"])).length, 4);
    assertEquals((await world.refused(3, ["inspect", "a"])).kind, "not-found");
    assertEquals((await world.json(["inspect", "a", "--namespace", "green"])).namespace, "green");
    await Promise.all(names.map(([name, namespace]) => world.done(["rm", name, "--namespace", namespace])));
    assertEquals(await world.traces(), []);
  },
);

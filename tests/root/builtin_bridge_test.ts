import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Result } from "../../lib/cni/result.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { statOf } from "../../lib/host/file.ts";
import { netnsId } from "../../lib/host/netns.ts";
import { until } from "../until.ts";
import { assertDone, type Call, callBuiltin, resultOf } from "./builtin_call.ts";
import { connects, inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";

function configOf(world: World, more: JsonObject = {}): JsonObject {
  return {
    cniVersion: "1.1.0",
    name: `net-${world.tag}`,
    type: "bridge",
    bridge: world.bridge,
    isDefaultGateway: true,
    ipam: {
      type: "host-local",
      dataDir: world.dir,
      ranges: [[{ subnet: `${world.subnet4}.0/24` }], [{ subnet: `${world.subnet6}::/64` }]],
      routes: [{ dst: "10.255.0.0/16" }],
    },
    ...more,
  };
}

function callOf(world: World, netns: string, more: JsonObject = {}): Omit<Call, "verb"> {
  return { containerId: `c-${world.tag}`, netns, ifName: "eth0", config: configOf(world, more) };
}

const addresses = (result: Result) => (result.ips ?? []).map(({ address }) => address);
const ipOf = (cidr: string | undefined) => cidr?.split("/")[0] ?? "";
const reserved = (world: World) =>
  Array.from(Deno.readDirSync(`${world.dir}/net-${world.tag}`), ({ name }) => name).filter((name) =>
    /^[\da-f]+[.:]/.test(name)
  );
const done = async (call: Call) => assertDone(await callBuiltin("bridge", call));

Deno.test({
  name: "bridge: ADD, CHECK and DEL over real namespaces, both families",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns);
    const result = resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    const [bridge, host, container] = result.interfaces ?? [];
    assertEquals(bridge?.name, world.bridge);
    assert(/^veth[0-9a-f]{8}$/.test(host?.name ?? ""));
    assertEquals({ name: container?.name, sandbox: container?.sandbox }, { name: "eth0", sandbox: netns });
    assertEquals(result.ips, [
      { interface: 2, address: `${world.subnet4}.2/24`, gateway: `${world.subnet4}.1` },
      { interface: 2, address: `${world.subnet6}::2/64`, gateway: `${world.subnet6}::1` },
    ]);
    assertEquals(result.routes, [
      { dst: "10.255.0.0/16" },
      { dst: "0.0.0.0/0", gw: `${world.subnet4}.1` },
      { dst: "::/0", gw: `${world.subnet6}::1` },
    ]);
    for (const [name, mac] of [[world.bridge, bridge?.mac], [host?.name, host?.mac]]) {
      assertEquals((await sh(`cat /sys/class/net/${name}/address`)).trim(), mac);
    }
    assertStringIncludes(await sh("ip link show eth0", netns), container?.mac ?? "?");
    // No address may be tentative (duplicate address detection) when ADD returns.
    assertEquals(await sh("ip -6 addr show tentative", netns), "");
    assertStringIncludes(await sh("ip route show default", netns), `via ${world.subnet4}.1`);
    assertStringIncludes(await sh("ip route show 10.255.0.0/16", netns), `via ${world.subnet4}.1`);
    assertStringIncludes(await sh("ip -6 route show default", netns), `via ${world.subnet6}::1`);
    assertEquals(
      await sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"),
      "1\n1\n",
    );

    const config = { ...call.config, prevResult: result as unknown as JsonObject };
    await done({ ...call, config, verb: "CHECK" });
    await done({ ...call, config, verb: "DEL" });
    assertEquals((await sh("ip -o link show", netns)).trim().split("\n").length, 1);
    assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
    assertEquals(reserved(world), []);
    await done({ ...call, config, verb: "DEL" });
  }),
});

Deno.test({
  name: "bridge: two containers and the host reach each other the moment ADD returns",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const [a, b] = [await world.netns("a"), await world.netns("b")];
    const add = async (netns: string, containerId: string) =>
      addresses(resultOf(await callBuiltin("bridge", { ...callOf(world, netns), containerId, verb: "ADD" })));
    await add(a, "a");
    const [b4, b6] = await add(b, "b");
    assert(await connects(a, b, ipOf(b6)), "IPv6 between containers");
    assert(await connects(a, b, ipOf(b4)), "IPv4 between containers");
    assert(await connects(a, undefined, `${world.subnet4}.1`), "IPv4 to the bridge");
    assert(await connects(a, undefined, `${world.subnet6}::1`), "IPv6 to the bridge");
    assert(await connects(undefined, b, ipOf(b4)), "IPv4 from the host");
    for (const [netns, containerId] of [[a, "a"], [b, "b"]] as const) {
      await done({ ...callOf(world, netns), containerId, verb: "DEL" });
    }
  }),
});

for (const ipMasqBackend of ["iptables", "nftables"] as const) {
  Deno.test({
    name: `bridge: masquerading by ${ipMasqBackend} is there after ADD and gone after DEL`,
    ...need("root", "ip", "nft", "iptables"),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const call = callOf(world, netns, { ipMasq: true, ipMasqBackend });
      resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
      const rules = await masqueradeRules(call.containerId!);
      assert(
        rules.some((rule) =>
          /masquerade/i.test(rule) && (ipMasqBackend === "iptables" || rule.includes(`${world.subnet4}.2`))
        ),
      );
      assert(rules.some((rule) => rule.includes(`${world.subnet6}::2`)));
      // Also when the address is no longer known.
      await done({ ...call, netns: "", verb: "DEL" });
      assertEquals(await masqueradeRules(call.containerId!), []);
    }),
  });
}

Deno.test({
  name: "bridge: only traffic that leaves the network is masqueraded",
  ...need("root", "ip", "nft", "iptables"),
  fn: inWorld(async (world) => {
    for (const ipMasqBackend of ["iptables", "nftables"]) {
      const [inside, outside] = [
        await world.netns(`in-${ipMasqBackend}`),
        await world.netns(`out-${ipMasqBackend}`),
      ];
      const call = callOf(world, inside, { ipMasq: true, ipMasqBackend });
      resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
      // A network behind the host that has no route back: it can answer only the host's own address.
      const [link, net] = [`pwo${world.tag}${ipMasqBackend[0]}`, `${world.subnet4.replace(/^10\./, "172.")}`];
      await sh(
        `ip link add ${link} type veth peer name up0 netns ${outside}; ip addr add ${net}.1/24 dev ${link}; ip link set ${link} up`,
      );
      try {
        await sh(`ip addr add ${net}.2/24 dev up0; ip link set up0 up`, outside);
        assert(await connects(inside, outside, `${net}.2`), ipMasqBackend);
      } finally {
        await sh(`ip link delete ${link}`);
        await done({ ...call, verb: "DEL" });
      }
    }
  }),
});

Deno.test({
  name: "bridge: twenty ADDs at once on a bridge that does not exist yet",
  ...need("root", "ip", "iptables"),
  fn: inWorld(async (world) => {
    const ids = Array.from({ length: 20 }, (_, n) => `c${n}-${world.tag}`);
    const paths = await Promise.all(ids.map((id) => world.netns(id)));
    const calls = ids.map((containerId, n) => ({
      ...callOf(world, paths[n]!, { ipMasq: true }),
      containerId,
    }));
    const results = await Promise.all(
      calls.map(async (call) => resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }))),
    );
    assertEquals(new Set(results.flatMap(addresses)).size, 40);
    assertEquals(new Set(results.map((result) => result.interfaces?.[0]?.mac)).size, 1);
    assertEquals((await sh(`ip -o link show master ${world.bridge}`)).trim().split("\n").length, 20);
    assertEquals((await sh(`ip -o addr show dev ${world.bridge} scope global`)).trim().split("\n").length, 2);
    await Promise.all(calls.map((call) => done({ ...call, verb: "DEL" })));
    assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
    assertEquals(reserved(world), []);
    assertEquals(await masqueradeRules(world.tag), []);
  }),
});

Deno.test({
  name: "bridge: a failed ADD leaves no interface, address or rule",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const clean = async () => {
      assertEquals((await sh("ip -o link show", netns)).trim().split("\n").length, 1);
      assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
      assertEquals(reserved(world), []);
      assertEquals(await masqueradeRules(`c-${world.tag}`), []);
    };
    const failing = async (more: JsonObject) => {
      const { code, document } = await callBuiltin("bridge", { ...callOf(world, netns, more), verb: "ADD" });
      assertEquals(code, 1);
      await clean();
      return String(document.msg);
    };
    const ipam = configOf(world).ipam as JsonObject;
    // An impossible route: it fails after the pair, the addresses and a reservation.
    const routes = [{ dst: "10.250.0.0/16", gw: "192.0.2.1" }];
    assertStringIncludes(await failing({ ipam: { ...ipam, routes }, ipMasq: true }), "10.250.0.0/16");
    // No address is left for the second container.
    const one = { ...ipam, ranges: [[{ subnet: `${world.subnet4}.0/30` }]] };
    const other = await world.netns("b");
    const first = { ...callOf(world, other, { ipam: one }), containerId: "first" };
    resultOf(await callBuiltin("bridge", { ...first, verb: "ADD" }));
    const { document } = await callBuiltin("bridge", { ...callOf(world, netns, { ipam: one }), verb: "ADD" });
    assertStringIncludes(document.msg, "no IP addresses available in range set");
    assertEquals(reserved(world), [`${world.subnet4}.2`]);
    await done({ ...first, verb: "DEL" });
    await clean();
    // The bridge has an address of another owner.
    await sh(`ip addr flush dev ${world.bridge}; ip addr add 10.249.9.1/24 dev ${world.bridge}`);
    const elsewhere = { ...ipam, ranges: [[{ subnet: "10.249.7.0/24" }]] };
    assertStringIncludes(
      await failing({ ipam: elsewhere }),
      "already has an IP address different from 10.249.7.1/24",
    );
    const forced = callOf(world, netns, { ipam: elsewhere, forceAddress: true });
    resultOf(await callBuiltin("bridge", { ...forced, verb: "ADD" }));
    assertStringIncludes(await sh(`ip -4 addr show dev ${world.bridge}`), "10.249.7.1/24");
    await done({ ...forced, verb: "DEL" });
  }),
});

Deno.test({
  name: "bridge: a taken interface name and a name that is not a bridge are refused",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns);
    resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    const again = await callBuiltin("bridge", { ...call, containerId: "other", verb: "ADD" });
    assertEquals(again.document.msg, `Cannot create interface "eth0" in "${netns}": it already exists`);
    await done({ ...call, verb: "DEL" });
    const lo = await callBuiltin("bridge", { ...callOf(world, netns, { bridge: "lo" }), verb: "ADD" });
    assertEquals(lo.document.msg, 'Cannot use bridge "lo": the interface with that name is not a bridge');
    assertEquals((await sh("ip -o link show", netns)).trim().split("\n").length, 1);
  }),
});

Deno.test({
  name: "U14 bridge: MAC address, MTU, hairpin, isolation and a requested address are set as requested",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns, {
      mtu: 1400,
      hairpinMode: true,
      portIsolation: true,
      runtimeConfig: { mac: "02:11:22:33:44:55", ips: [`${world.subnet4}.77`] },
    });
    const result = resultOf(
      await callBuiltin("bridge", { ...call, args: "IgnoreUnknown=1;MAC=02:00:00:00:00:01", verb: "ADD" }),
    );
    assertEquals(addresses(result), [`${world.subnet4}.77/24`, `${world.subnet6}::2/64`]);
    const [bridge, host, container] = result.interfaces ?? [];
    assertEquals(container?.mac, "02:11:22:33:44:55");
    const inside = await sh("ip link show eth0", netns);
    assertStringIncludes(inside, "02:11:22:33:44:55");
    assertStringIncludes(inside, "mtu 1400");
    const port = await sh(`ip -d link show ${host?.name}`);
    for (const word of ["mtu 1400", "hairpin on", "isolated on"]) assertStringIncludes(port, word);
    assertStringIncludes(await sh(`ip link show ${bridge?.name}`), "mtu 1400");
    await done({ ...call, args: "", verb: "DEL" });
    const promisc = callOf(world, netns, { promiscMode: true });
    const second = resultOf(await callBuiltin("bridge", { ...promisc, verb: "ADD" }));
    await done({
      ...promisc,
      config: { ...promisc.config, prevResult: second as unknown as JsonObject },
      verb: "CHECK",
    });
    await done({ ...promisc, verb: "DEL" });
  }),
});

Deno.test({
  name: "bridge: without IPAM it is a layer 2 network",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const dns = { nameservers: ["10.0.0.53"] };
    const call = callOf(world, netns, { isDefaultGateway: false, ipam: {}, dns });
    const result = resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    assertEquals({ ips: result.ips, routes: result.routes, dns: result.dns }, {
      ips: undefined,
      routes: undefined,
      dns,
    });
    assertStringIncludes(await sh("ip link show eth0", netns), "state UP");
    const config = { ...call.config, prevResult: result as unknown as JsonObject };
    await done({ ...call, config, verb: "CHECK" });
    await done({ ...call, config, verb: "STATUS" });
    await done({ ...call, config, verb: "DEL" });
  }),
});

Deno.test({
  name: "bridge: CHECK sees what is missing",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns);
    const result = resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    const config = { ...call.config, prevResult: result as unknown as JsonObject };
    const host = result.interfaces?.[1]?.name;
    const check = async () =>
      (await callBuiltin("bridge", { ...call, config, verb: "CHECK" })).document?.msg ?? "ok";
    assertEquals(await check(), "ok");
    const breaks: [string, string | undefined, string, string][] = [
      [
        "ip route del default",
        netns,
        `ip route add default via ${world.subnet4}.1`,
        "the route to 0.0.0.0/0",
      ],
      [
        `ip link set ${host} nomaster`,
        undefined,
        `ip link set ${host} master ${world.bridge}`,
        "no veth of prevResult connects",
      ],
      [
        "ip link set eth0 address 02:00:00:00:00:99",
        netns,
        `ip link set eth0 address ${result.interfaces?.[2]?.mac}`,
        "has the MAC address",
      ],
      [
        `ip link set ${world.bridge} promisc on`,
        undefined,
        `ip link set ${world.bridge} promisc off`,
        "is in promiscuous mode",
      ],
      [
        `ip link set ${host} type bridge_slave hairpin on`,
        undefined,
        `ip link set ${host} type bridge_slave hairpin off`,
        `bridge port "${host}" is in hairpin mode`,
      ],
      [
        `ip link set ${host} type bridge_slave isolated on`,
        undefined,
        `ip link set ${host} type bridge_slave isolated off`,
        `bridge port "${host}" is isolated`,
      ],
      [
        `ip link set ${world.bridge} down`,
        undefined,
        // The kernel has removed the IPv6 address.
        `ip link set ${world.bridge} up; ip addr add ${world.subnet6}::1/64 dev ${world.bridge} nodad`,
        "is down",
      ],
      [`ip addr del ${world.subnet4}.2/24 dev eth0`, netns, ":", "does not have the address"],
      ["ip link del eth0", netns, ":", `interface "eth0" is not in`],
    ];
    for (const [damage, where, repair, msg] of breaks) {
      await sh(damage, where);
      assertStringIncludes(await check(), msg);
      await sh(repair, where);
      if (repair !== ":") assertEquals(await check(), "ok", damage);
    }
    await done({ ...call, verb: "DEL" });
    assertStringIncludes(await check(), "no address is reserved");
  }),
});

Deno.test({
  name: "bridge: DEL finds the interface of a namespace that lives on without its name",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns);
    resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    const id = await netnsId(netns);
    const holder = new Deno.Command("nsenter", { args: [`--net=${netns}`, "sleep", "600"] }).spawn();
    try {
      await until(async () => await netnsId(`/proc/${holder.pid}/ns/net`) === id);
      await sh(`ip netns delete ${netns.slice("/run/netns/".length)}`);
      assert(await sh(`ip -o link show master ${world.bridge}`) !== "");
      await done({ ...call, verb: "DEL" });
      assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
      assertEquals(reserved(world), []);
    } finally {
      holder.kill("SIGKILL");
      await holder.status;
    }
  }),
});

Deno.test({
  name: "bridge: GC removes what no attachment holds and keeps the rest",
  ...need("root", "ip", "nft", "iptables"),
  fn: inWorld(async (world) => {
    const ids = ["keep", "iptables", "nftables"].map((name) => `${name}-${world.tag}`);
    const paths = await Promise.all(ids.map((id) => world.netns(id)));
    for (const [n, containerId] of ids.entries()) {
      const ipMasqBackend = containerId.startsWith("nft") ? "nftables" : "iptables";
      const call = { ...callOf(world, paths[n]!, { ipMasq: true, ipMasqBackend }), containerId };
      resultOf(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    }
    const valid = [{ containerID: ids[0]!, ifname: "eth0" }];
    const config = configOf(world, { ipMasq: true, "cni.dev/valid-attachments": valid });
    await done({ verb: "GC", config });
    assertEquals((await sh(`ip -o link show master ${world.bridge}`)).trim().split("\n").length, 1);
    assertEquals(reserved(world).sort(), [`${world.subnet4}.2`, `${world.subnet6}::2`].sort());
    assertEquals(await masqueradeRules(ids[1]!), []);
    assertEquals(await masqueradeRules(ids[2]!), []);
    assert((await masqueradeRules(ids[0]!)).length > 0);
    await done({ ...callOf(world, paths[0]!, { ipMasq: true }), containerId: ids[0]!, verb: "DEL" });
    assertEquals(await masqueradeRules(world.tag), []);
  }),
});

Deno.test({
  name: "bridge: an ADD on a bridge that exists takes three process starts beside the masquerading",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns);
    const programs: string[] = [];
    // One way to run programs, as in a process: the first ADD looks whether the host forwards.
    const run: RunCommand = (request) => {
      programs.push(request.program);
      return runCommand(request);
    };
    const add = () => callBuiltin("bridge", { ...call, verb: "ADD" }, run);
    resultOf(await add());
    await done({ ...call, verb: "DEL" });
    programs.length = 0;
    resultOf(await add());
    assertEquals(programs.slice(0, 3), ["ip", "sh", "ip"]);
    assert(programs.slice(3).every((program) => program === "ip"), "waiting for the port");
    await done({ ...call, verb: "DEL" });
  }),
});

Deno.test({
  name: "bridge: with removeEmptyBridge it is removed with its last port, and made again for the next",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const ids = ["a", "b", "c", "d"].map((name) => `${name}-${world.tag}`);
    const paths = await Promise.all(ids.map((id) => world.netns(id)));
    const call = (n: number) => ({
      ...callOf(world, paths[n]!, { removeEmptyBridge: true }),
      containerId: ids[n]!,
    });
    const isThere = async () => (await sh("ip -o link show type bridge")).includes(` ${world.bridge}:`);
    resultOf(await callBuiltin("bridge", { ...call(0), verb: "ADD" }));
    resultOf(await callBuiltin("bridge", { ...call(1), verb: "ADD" }));
    await done({ ...call(0), verb: "DEL" });
    assertEquals(await isThere(), true);
    await done({ ...call(1), verb: "DEL" });
    assertEquals(await isThere(), false);
    await done({ ...call(1), verb: "DEL" });
    // Ports come and go at once: none loses the bridge that it was just attached to.
    await Promise.all(ids.map(async (_, n) => {
      for (let round = 0; round < 5; round++) {
        resultOf(await callBuiltin("bridge", { ...call(n), verb: "ADD" }));
        await done({ ...call(n), verb: "DEL" });
      }
    }));
    assertEquals(await isThere(), false);
    assertEquals(await statOf(`/run/podwire/bridge-${world.bridge}.lock`), undefined);
  }),
});

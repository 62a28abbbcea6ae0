// Ports of the host that podwire chooses: free ones, for one owner each, and kept in the record.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { AUTOMATIC_PORTS, chooseHostPorts, findLocalPortsWith } from "../../lib/state/automatic_ports.ts";
import type { HostPort } from "../../lib/state/host_port.ts";
import { HostPorts, type HostPortsOptions } from "../../lib/state/host_ports.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";
import { Syncs } from "../syncs.ts";

const want = (containerPort: number, protocol = "tcp", hostIP = "") => ({
  ...{ family: undefined, address: "", protocol, containerPort, hostIP },
});
const keyOf = (containerId: string) => ({ containerId, network: "web", ifName: "eth0" });
const LIST = listOf([], { plugins: [{ type: "a", capabilities: { portMappings: true } }] });
const { first: FIRST, last: LAST } = AUTOMATIC_PORTS;
const isAutomatic = (port: number) => port >= FIRST && port <= LAST;

async function choose(
  ports: ReturnType<typeof want>[],
  { isFree = (_port: HostPort) => true, local, start = 0 }: {
    isFree?: (port: HostPort) => boolean;
    local?: { first: number; last: number };
    start?: number;
  } = {},
): Promise<number[] | undefined> {
  const free = (port: HostPort) => Promise.resolve(isFree(port));
  const chosen = await chooseHostPorts(ports, free, { local, start });
  return chosen?.map(({ port }) => port);
}

Deno.test("ports that follow each other in the container do so on the host, if so many are free in a row", async () => {
  const ten = Array.from({ length: 10 }, (_, at) => want(8000 + at));
  assertEquals(await choose([want(80)]), [FIRST]);
  assertEquals(await choose([want(80), want(443), want(80, "udp")]), [FIRST, FIRST + 1, FIRST]);
  assertEquals(await choose(ten, { start: 7 }), ten.map((_, at) => FIRST + 7 + at));
  // Over the end of the ports, where a row cannot go on.
  assertEquals(await choose(ten, { start: LAST - FIRST - 3 }), ten.map((_, at) => FIRST + at));
  const isThird = ({ port }: HostPort) => port % 3 === 0;
  assertEquals(await choose(ten.slice(0, 3), { isFree: isThird }), [20_001, 20_004, 20_007]);
});

Deno.test("a port that the kernel gives to connections is taken only if no other is free", async () => {
  const local = { first: FIRST, last: FIRST + 99 };
  assertEquals(await choose([want(80)], { local }), [FIRST + 100]);
  const isFree = ({ port }: HostPort) => port < FIRST + 50;
  assertEquals(await choose([want(80)], { local, isFree, start: 20 }), [FIRST + 20]);
  assertEquals(await choose([want(80)], { local: { first: 1024, last: 65_535 } }), [FIRST]);
  assertEquals(await choose([want(80)], { isFree: () => false }), undefined);
});

Deno.test("the ports of connections are read from the kernel, and unknown if they cannot be", async () => {
  const answering = (stdout: string): RunCommand => () =>
    Promise.resolve({ code: 0, stdout, stderr: "" } as never);
  const found = await findLocalPortsWith(runCommand)(undefined);
  const { stdout } = await runCommand({ program: "cat", args: ["/proc/sys/net/ipv4/ip_local_port_range"] });
  const [first = 0, last = 0] = stdout.trim().split(/\s+/).map(Number);
  assertEquals(found, { first, last });
  assertEquals(await findLocalPortsWith(answering("nonsense"))(undefined), undefined);
  assertEquals(await findLocalPortsWith(() => Promise.reject(new Error("no program")))(undefined), undefined);
});

/** A world, and host ports of it with other collaborators. */
async function portWorld(options: Partial<HostPortsOptions> = {}) {
  const world = await NetworkWorld.make();
  const plugin = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const { stateDir, store, locks } = world;
  return { world, plugin, ports: new HostPorts({ stateDir, store, locks, ...options }) };
}

Deno.test("a chosen port is claimed: no other attachment gets it, by choice or by name, until it is released", async () => {
  const { world, ports } = await portWorld();
  await using _ = world;
  const ids = Array.from({ length: 40 }, (_, at) => `c${at}`);
  const chosen = (await Promise.all(ids.map((id) => ports.claimAutomatic(keyOf(id), [want(80)])))).flat();
  assertEquals(new Set(chosen.map(({ port }) => port)).size, 40);
  assert(chosen.every(({ port }) => isAutomatic(port)), JSON.stringify(chosen));
  for (const [at, id] of ids.entries()) {
    const args = { portMappings: [{ hostPort: chosen[at]?.port ?? 0, containerPort: 80 }] };
    await ports.release(keyOf(id), args);
  }
  assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`)), []);
});

Deno.test("a port on which a program listens, or that is claimed by name, is not chosen; and too few are an error", async () => {
  const listens = (port: number) => ({
    ...{ family: undefined, address: "", port, protocol: "tcp", program: "x", pid: 7 },
  });
  const most = Array.from({ length: LAST - FIRST + 1 }, (_, at) => FIRST + at).filter((port) =>
    port > FIRST + 2
  );
  const findListeners = () => Promise.resolve(most.map(listens));
  const { world, ports } = await portWorld({ findListeners });
  await using _ = world;
  await ports.claim(keyOf("named"), { portMappings: [{ hostPort: FIRST + 1, containerPort: 80 }] });
  const chosen = await ports.claimAutomatic(keyOf("c1"), [want(80), want(90)]);
  assertEquals(chosen.map(({ port }) => port).sort(), [FIRST, FIRST + 2]);
  const error = await assertRejects(() => ports.claimAutomatic(keyOf("c2"), [want(80)]), CniError);
  assertEquals({ kind: error.kind, msg: error.msg }, {
    kind: "exhausted",
    msg: `no port of the host from ${FIRST} to ${LAST} is free`,
  });
  // Of another protocol they are.
  await ports.claimAutomatic(keyOf("c2"), [want(80, "udp")]);
});

Deno.test("a chosen port is in the record and in what plugins get, in ADD, CHECK and DEL, with one synced write", async () => {
  const { world, plugin } = await portWorld();
  await using _ = world;
  const attachments = world.attachments();
  const fixed: JsonObject = { hostPort: 8080, containerPort: 90, protocol: "tcp", hostIP: "" };
  const request = world.request({ containerId: "c1", capabilityArgs: { portMappings: [fixed] } });
  // The first one also writes the layout of the directory.
  await attachments.add(LIST, world.request({ containerId: "c0" }));
  using syncs = new Syncs();
  await attachments.add(LIST, { ...request, containerId: "plain", capabilityArgs: {} });
  const plain = syncs.take();
  await attachments.add(LIST, { ...request, automaticPorts: [want(80), want(81)] });
  assertEquals(syncs.take(), plain);
  const [record] = await world.store.ofContainer("c1");
  const mappings = record?.capabilityArgs.portMappings as JsonObject[];
  assertEquals(mappings.map(({ containerPort }) => containerPort), [90, 80, 81]);
  assertEquals(mappings[0], fixed);
  const chosen = Number(mappings[1]?.hostPort);
  assert(isAutomatic(chosen));
  assertEquals(mappings[2], { hostPort: chosen + 1, containerPort: 81, protocol: "tcp", hostIP: "" });
  await attachments.check(LIST, { ...request, capabilityArgs: record?.capabilityArgs ?? {} });
  await attachments.remove(record!);
  const calls = (await plugin.calls()).filter(({ env }) => env.CNI_CONTAINERID === "c1");
  assertEquals(
    calls.map(({ verb, config }) => ({ verb, mappings: config.runtimeConfig?.portMappings })),
    ["ADD", "CHECK", "DEL"].map((verb) => ({ verb, mappings })),
  );
  assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`)), []);
});

Deno.test("if no port can be chosen, no plugin runs, and nothing stays", async () => {
  const { world } = await portWorld();
  await using _ = world;
  const claimAutomatic = () => Promise.reject(new CniError("exhausted", "no port of the host is free"));
  world.ports.claimAutomatic = claimAutomatic;
  const fixed = { portMappings: [{ hostPort: 8080, containerPort: 90 }] };
  const request = {
    ...world.request({ containerId: "c1", capabilityArgs: fixed }),
    automaticPorts: [want(80)],
  };
  const error = await assertRejects(() => world.attachments().add(LIST, request), CniError);
  assertMatch(error.message, /^Cannot ADD network ".*": no port of the host is free/);
  assertEquals({ log: await world.plugins.log(), files: await world.files() }, { log: [], files: [] });
  assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`)), []);
});

// A port of the host has one owner. A second one is refused before anything runs, and a crash leaves no port taken.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { FullAttachRequest } from "../../lib/attachment/request.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { printChecksummed } from "../../lib/state/checksummed.ts";
import { HostPorts } from "../../lib/state/host_ports.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
const publish = (...ports: JsonObject[]): JsonObject => ({ portMappings: ports });
const PORT = publish({ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" });
const publishing = (name: string) =>
  listOf([], { name, plugins: [{ type: "a", capabilities: { portMappings: true } }] });

/** A world with a plugin that publishes ports. */
async function portWorld(): Promise<NetworkWorld> {
  const world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  return world;
}

const requestOf = (
  world: NetworkWorld,
  containerId: string,
  capabilityArgs: JsonObject,
  more: Partial<FullAttachRequest> = {},
) => world.request({ containerId, capabilityArgs, ...more });
const addOf = (world: NetworkWorld, containerId: string, capabilityArgs = PORT, network = "web") =>
  world.attachments().add(publishing(network), requestOf(world, containerId, capabilityArgs));
const delOf = (world: NetworkWorld, containerId: string, network = "web") =>
  world.attachments().del(publishing(network), requestOf(world, containerId, {}));
const claimsIn = async (world: NetworkWorld): Promise<string[]> =>
  (await Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`), ({ name }) => name)).sort();

Deno.test("F67 a second owner of a host port is refused before anything runs, and the error names the first", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const error = await failing(() =>
    addOf(world, "c2", publish({ hostPort: 8080, hostIP: "127.0.0.1" }), "db")
  );
  assertEquals({
    kind: error.kind,
    code: error.code,
    verb: error.context.verb,
    network: error.context.network,
  }, { kind: "conflict", code: 0, verb: "ADD", network: "db" });
  assertEquals(
    error.message,
    'Cannot ADD network "db": the host port 127.0.0.1:8080/tcp is taken by container "c1" on network "web" (eth0, attached); it has 8080/tcp',
  );
  assertEquals(error.context.hint, "`podwire attachments c1` shows the owner");
  assertEquals({ log: await world.plugins.log(), files: await world.files() }, {
    log: ["a ADD c1 eth0"],
    files: ["c1/eth0@web", "results/web-c1-eth0"],
  });
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json"]);
});

Deno.test("F67 several owners can have the same port if no packet would be for two of them", async () => {
  await using world = await portWorld();
  await addOf(world, "c1", publish({ hostPort: 8080, hostIP: "127.0.0.1" }));
  await addOf(
    world,
    "c2",
    publish({ hostPort: 8080, hostIP: "127.0.0.2" }, { hostPort: 8080, hostIP: "::" }),
  );
  await addOf(world, "c3", publish({ hostPort: 8080, protocol: "udp" }));
  const refused = await failing(() => addOf(world, "c4", publish({ hostPort: 8080, hostIP: "::1" })));
  assertMatch(refused.msg, /\[::1\]:8080\/tcp is taken by container "c2"/);
  await delOf(world, "c2");
  await addOf(world, "c4", publish({ hostPort: 8080, hostIP: "::1" }));
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json", "udp-8064-8127.json"]);
  for (const id of ["c1", "c3", "c4"]) await delOf(world, id);
  assertEquals(await claimsIn(world), []);
});

Deno.test("F67 none of several ports is taken if one is not free", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const several = publish({ hostPort: 7070 }, { hostPort: 8080 }, { hostPort: 9090 });
  await failing(() => addOf(world, "c2", several));
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json"]);
  await addOf(world, "c3", publish({ hostPort: 7070 }, { hostPort: 9090 }));
});

Deno.test("F67 one request cannot have a port twice, in one network or in two", async () => {
  await using world = await portWorld();
  const twice = publish({ hostPort: 8080 }, { hostPort: 8080, hostIP: "127.0.0.1" });
  const error = await failing(() => addOf(world, "c1", twice));
  assertEquals({ kind: error.kind, msg: error.msg }, {
    kind: "conflict",
    msg: "the host ports 8080/tcp and 127.0.0.1:8080/tcp are one, asked for twice",
  });
  const wanted = [{ capabilityArgs: PORT }, { capabilityArgs: PORT }];
  const both = await failing(() => world.ports.requireFree(wanted));
  assertEquals({ kind: both.kind, msg: both.msg }, {
    kind: "conflict",
    msg: "the host port 8080/tcp is asked for twice",
  });
  assertEquals({ log: await world.plugins.log(), files: await world.files() }, { log: [], files: [] });
});

Deno.test("F67 a port that no plugin of the network publishes is not claimed", async () => {
  await using world = await portWorld();
  const without = listOf(["a"]);
  await world.attachments().add(without, requestOf(world, "c1", PORT));
  await addOf(world, "c2");
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json"]);
  await world.attachments().del(without, requestOf(world, "c1", {}));
  await failing(() => addOf(world, "c3"));
});

Deno.test("F67 the ports of all attachments of a pod are checked before the first attachment is made", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const other = publish({ hostPort: 9090 });
  const free = await world.ports.requireFree([{ capabilityArgs: other }]);
  assertEquals(free, undefined);
  const error = await failing(() =>
    world.ports.requireFree([{ capabilityArgs: other }, { capabilityArgs: PORT }])
  );
  assertMatch(error.msg, /8080\/tcp is taken by container "c1"/);
  const key = { containerId: "c1", network: "web", ifName: "eth0" };
  await world.ports.requireFree([{ key, capabilityArgs: PORT }]);
  await failing(() => world.ports.requireFree([{ key: { ...key, ifName: "eth1" }, capabilityArgs: PORT }]));
  await world.ports.requireFree([{ capabilityArgs: PORT }], { leaving: ["c1"] });
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json"]);
});

Deno.test("F73 G28 the port is free after a failed ADD that was undone", async () => {
  await using world = await portWorld();
  const b = await world.plugins.install("b", { ADD: { code: 1 } });
  const list = listOf([], { plugins: [{ type: "a", capabilities: { portMappings: true } }, { type: "b" }] });
  await failing(() => world.attachments().add(list, requestOf(world, "c1", PORT)));
  assertEquals({ claims: await claimsIn(world), files: await world.files() }, { claims: [], files: [] });
  await b.answer("ADD", { stdout: resultWith("10.1.0.2/24") });
  await world.attachments().add(list, requestOf(world, "c2", PORT));
});

Deno.test("F79 the port stays taken after a failed DEL, and the error says what to do", async () => {
  await using world = await portWorld();
  const b = await world.plugins.install("b", { ADD: { code: 1 }, DEL: { code: 1 } });
  const list = listOf([], { plugins: [{ type: "a", capabilities: { portMappings: true } }, { type: "b" }] });
  // A plugin that did not run cannot make an undo fail; one that failed can.
  await failing(() => world.attachments().add(list, requestOf(world, "c1", PORT)));
  const error = await failing(() => addOf(world, "c2"));
  assertMatch(error.msg, /is taken by container "c1" on network "web" \(eth0, failed\)/);
  assertMatch(error.context.hint ?? "", /`podwire recover` tries again/);
  await b.answer("DEL", {});
  await world.attachments().remove((await world.store.all())[0]!);
  await addOf(world, "c2");
});

Deno.test("the claim of a killed process is free once its record is gone, and not before", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const [record] = await world.store.all();
  // Killed between the record and the claim of another port, then between the removal of the record and of the claim.
  await world.store.write({
    ...record!,
    containerId: "c0",
    state: "adding",
    capabilityArgs: publish({ hostPort: 9090 }),
  });
  await addOf(world, "c2", publish({ hostPort: 9090 }));
  const held = await failing(() => addOf(world, "c3"));
  assertEquals(held.kind, "conflict");
  await world.store.remove(record!);
  await addOf(world, "c3");
  const error = await failing(() => addOf(world, "c4"));
  assertMatch(error.msg, /container "c3"/);
});

Deno.test("F73 a port is released before its record is removed, so that a crash between the two leaves no claim", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const remove = world.store.remove.bind(world.store);
  let claims: string[] | undefined;
  world.store.remove = async (key) => {
    claims = await claimsIn(world);
    await remove(key);
  };
  await delOf(world, "c1");
  assertEquals([claims, await claimsIn(world), await world.files()], [[], [], []]);
});

Deno.test("the old claim of an attachment that was made again without the port is ignored", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const [record] = await world.store.all();
  await world.store.write({ ...record!, capabilityArgs: {} });
  await addOf(world, "c2");
  // An attachment whose claim was replaced does not release the claim of the new owner.
  await world.ports.release(record!, PORT);
  await failing(() => addOf(world, "c3"));
});

Deno.test("a sweep removes the claims that crashes left, and none that is in use", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  await addOf(world, "c2", publish({ hostPort: 9090, hostIP: "127.0.0.1" }));
  await addOf(world, "c3", publish({ hostPort: 9090, hostIP: "127.0.0.2" }));
  for (const id of ["c1", "c2"]) await world.store.remove((await world.store.ofContainer(id))[0]!);
  const unfinished = `${world.stateDir}/ports/.podwire-4194304-${"0".repeat(32)}.tmp`;
  await Deno.writeTextFile(unfinished, "");
  await Deno.writeTextFile(`${world.stateDir}/ports/README`, "not ours");
  await world.ports.sweep();
  assertEquals(await claimsIn(world), ["README", "tcp-9088-9151.json"]);
  const { claims } = JSON.parse(await Deno.readTextFile(`${world.stateDir}/ports/tcp-9088-9151.json`));
  assertEquals(claims, [
    { containerId: "c3", network: "web", ifName: "eth0", hostIP: "127.0.0.2", first: 9090, last: 9090 },
  ]);
});

Deno.test("claims that cannot be read are moved aside and rebuilt from the records", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  await addOf(world, "c2", publish({ hostPort: 9090 }));
  await Deno.writeTextFile(
    `${world.stateDir}/ports/tcp-8064-8127.json`,
    '{"kind": "podwire.ports.v1", "claims": []}\n',
  );
  const error = await failing(() => addOf(world, "c3"));
  assertMatch(error.msg, /is taken by container "c1"/);
  assertEquals(await claimsIn(world), [
    "tcp-8064-8127.json",
    "tcp-8064-8127.json.bad-1",
    "tcp-9088-9151.json",
  ]);
  assertEquals(world.bad.map(({ reason }) => reason), ["its checksum does not match"]);
  await failing(() => addOf(world, "c3"));
  assertEquals(world.bad.length, 1);
  await Deno.writeTextFile(`${world.stateDir}/ports/tcp-8064-8127.json`, "");
  await delOf(world, "c1");
  // Of an empty one there is nothing to keep.
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json.bad-1", "tcp-9088-9151.json"]);
});

Deno.test("F52 the signal ends a wait for the claims of others, and nothing stays on record", async () => {
  await using world = await portWorld();
  using _held = await world.locks.machine.ports();
  const signal = AbortSignal.timeout(300);
  const request = requestOf(world, "c1", PORT);
  const error = await failing(() => world.attachments().add(publishing("web"), request, { signal }));
  assertEquals({ kind: error.kind, log: await world.plugins.log(), files: await world.files() }, {
    kind: "timeout",
    log: [],
    files: [],
  });
  // An attachment without published ports does not wait.
  await addOf(world, "c2", {});
  await delOf(world, "c2");
});

Deno.test("if many want a port at once, one gets it, and no plugins of the others run", async () => {
  await using world = await portWorld();
  const ids = Array.from({ length: 12 }, (_, index) => `c${index}`);
  const outcomes = await Promise.allSettled(ids.map((id) => addOf(world, id)));
  const winners = ids.filter((_, index) => outcomes[index]?.status === "fulfilled");
  assertEquals(winners.length, 1);
  assertEquals(await world.plugins.log(), [`a ADD ${winners[0]} eth0`]);
  assertEquals((await world.store.all()).map(({ containerId }) => containerId), winners);
});

Deno.test("the cost of a claim does not depend on the number of attachments", async () => {
  await using world = await portWorld();
  await addOf(world, "c1");
  const [record] = await world.store.all();
  let read = 0;
  const counting = new Proxy(world.store, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        read++;
        assert(key === "look", `the store was asked for ${String(key)}`);
        return value.apply(target, given);
      };
    },
  });
  const ports = new HostPorts({ stateDir: world.stateDir, store: counting, locks: world.locks });
  for (let index = 0; index < 200; index++) {
    const other = {
      ...record!,
      containerId: `other-${index}`,
      capabilityArgs: publish({ hostPort: 10_000 + index }),
    };
    await world.store.write(other);
    await ports.claim(other, other.capabilityArgs);
  }
  assertEquals(read, 0);
  await failing(() => ports.requireFree([{ capabilityArgs: PORT }]));
  assertEquals(read, 1);
});

Deno.test("members of a newer version, of a port or of its claims, are kept when the file is written again", async () => {
  await using world = await portWorld();
  const local = publish({ hostPort: 8080, hostIP: "127.0.0.1" });
  await addOf(world, "c1", local);
  const file = `${world.stateDir}/ports/tcp-8064-8127.json`;
  const { kind, checksum: _, claims: [claim] } = JSON.parse(await Deno.readTextFile(file));
  const later = { zone: "a", claims: [{ ...claim, weight: [1] }] };
  await Deno.writeTextFile(file, await printChecksummed(kind, later));
  await addOf(world, "c2", publish({ hostPort: 8080, hostIP: "127.0.0.2" }));
  const both = JSON.parse(await Deno.readTextFile(file));
  assertEquals([both.zone, both.claims.length, both.claims[0]], ["a", 2, { ...claim, weight: [1] }]);
  await delOf(world, "c2");
  const { checksum: _sum, kind: _kind, ...left } = JSON.parse(await Deno.readTextFile(file));
  assertEquals(left, later);
  await delOf(world, "c1");
  assertEquals(await claimsIn(world), []);
});

/** The calls that read and write files, while `act` runs. */
async function filesWritten(world: NetworkWorld, act: () => Promise<unknown>): Promise<number> {
  const before = new Map(await mtimes(world));
  await act();
  return (await mtimes(world)).filter(([name, inode]) => before.get(name) !== inode).length;
}

async function mtimes(world: NetworkWorld): Promise<(readonly [string, number | null])[]> {
  const dir = `${world.stateDir}/ports`;
  const names = await claimsIn(world).catch(() => []);
  return names.map((name) => [name, Deno.statSync(`${dir}/${name}`).ino] as const);
}

const range = (first: number, count: number): JsonObject =>
  publish(...Array.from({ length: count }, (_, at) => ({ hostPort: first + at, containerPort: first + at })));

Deno.test("a claim on 10,000 ports writes 157 files, each of one range, and one port writes one", async () => {
  await using world = await portWorld();
  const [many, one] = [range(20_000, 10_000), range(30_001, 1)];
  const keyOf = (containerId: string) => ({ containerId, network: "web", ifName: "eth0" });
  assertEquals(await filesWritten(world, () => world.ports.claim(keyOf("c1"), many)), 157);
  for (const name of await claimsIn(world)) {
    const { claims } = JSON.parse(await Deno.readTextFile(`${world.stateDir}/ports/${name}`));
    assertEquals(claims.length, 1, name);
  }
  assertEquals(await filesWritten(world, () => world.ports.claim(keyOf("c2"), one)), 1);
  assertEquals(
    await filesWritten(world, () => world.ports.requireFree([{ capabilityArgs: range(40_000, 10_000) }])),
    0,
  );
  await world.ports.release(keyOf("c2"), one);
  await world.ports.release(keyOf("c1"), many);
  assertEquals(await claimsIn(world), []);
});

Deno.test("ranges conflict in any port of theirs, over the borders of files, and touch otherwise", async () => {
  await using world = await portWorld();
  await addOf(world, "c1", range(8_100, 60));
  for (const [first, count, taken] of [[8_050, 51, 8_100], [8_127, 2, 8_127], [8_159, 9, 8_159]] as const) {
    const error = await failing(() => addOf(world, "c2", range(first, count)));
    assertMatch(error.msg, new RegExp(`the host port ${taken}/tcp is taken by container "c1"`));
  }
  await addOf(world, "c2", range(8_050, 50));
  await addOf(world, "c3", range(8_160, 50));
  await delOf(world, "c1");
  await addOf(world, "c4", range(8_100, 60));
  const error = await failing(() => addOf(world, "c5", range(8_099, 1)));
  assertMatch(error.msg, /8099\/tcp is taken by container "c2"/);
});

Deno.test("claims that an earlier version wrote, a file for each port, are kept, joined, and released", async () => {
  await using world = await portWorld();
  const dir = `${world.stateDir}/ports`;
  const older = async (port: number, containerId: string) => {
    const claims = [{ containerId, network: "web", ifName: "eth0", hostIP: "" }];
    await Deno.writeTextFile(
      `${dir}/tcp-${port}.json`,
      await printChecksummed("podwire.port.v1", { claims }),
    );
  };
  // One that finds no such file looks for none any more.
  await Deno.mkdir(dir, { recursive: true });
  await older(7000, "gone");
  await addOf(world, "c1", publish({ hostPort: 8080 }, { hostPort: 8081 }, { hostPort: 9090 }));
  for (const name of await claimsIn(world)) await Deno.remove(`${dir}/${name}`);
  for (const port of [8080, 8081, 9090]) await older(port, "c1");
  await older(8100, "gone");
  const error = await failing(() => addOf(world, "c2"));
  assertMatch(error.msg, /8080\/tcp is taken by container "c1"/);
  await addOf(world, "c3", publish({ hostPort: 8090 }));
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json", "tcp-9090.json"]);
  const { claims } = JSON.parse(await Deno.readTextFile(`${dir}/tcp-8064-8127.json`));
  const of = (containerId: string, first: number, last: number) => {
    return { containerId, network: "web", ifName: "eth0", hostIP: "", first, last };
  };
  assertEquals(claims, [of("c1", 8080, 8081), of("gone", 8100, 8100), of("c3", 8090, 8090)]);
  await world.ports.sweep();
  assertEquals(await claimsIn(world), ["tcp-8064-8127.json", "tcp-9088-9151.json"]);
  await failing(() => addOf(world, "c2", publish({ hostPort: 9090 })));
  await delOf(world, "c1");
  await addOf(world, "c2");
});

Deno.test("of the claim of an attachment that has fewer ports by now only those are free that it has not", async () => {
  await using world = await portWorld();
  await addOf(world, "c1", range(8_070, 20));
  const [record] = await world.store.all();
  await world.store.write({ ...record!, capabilityArgs: range(8_080, 5) });
  await addOf(world, "c2", range(8_070, 10));
  await failing(() => addOf(world, "c3", range(8_084, 1)));
  await addOf(world, "c3", range(8_085, 5));
});

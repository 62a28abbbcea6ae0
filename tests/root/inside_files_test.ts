// The hosts and resolv.conf of sandboxes, with built-in plugins on the real kernel.
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { LiveRuntime } from "../../lib/runtime/live.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { inWorld, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

const DNS = { capabilities: { dns: true, aliases: true, ips: true } };

function insideTest(name: string, fn: (world: World) => Promise<void>): void {
  Deno.test({ name, ...need("root", "ip"), fn: inWorld(fn) });
}

const runtime = (world: World) => runtimeOf(world, FLAVOURS[0]!);

/** The lines of a file of a sandbox, without those that are in each. */
async function linesOf(
  sandbox: Pick<Sandbox, "files">,
  which: "hosts" | "resolvConf",
): Promise<readonly string[]> {
  if (sandbox.files === null) throw new Error("Cannot read its files: it has none");
  const text = await Deno.readTextFile(sandbox.files[which]);
  return text.trimEnd().split("\n").slice(which === "hosts" ? 5 : 1);
}

const line = ({ name, ips }: Sandbox, ...more: readonly string[]) =>
  `${ips[0]}\t${[name, `${name}.default`, ...more].join(" ")}`;

insideTest("sandboxes find each other by name as long as they are on one network", async (world) => {
  await bridgeNetwork(world, "front", { more: DNS });
  await bridgeNetwork(world, "back", { number: 1, more: { ...DNS, bridge: `${world.bridge}b` } });
  const { sandboxes } = runtime(world);
  const web = await sandboxes.run({ name: "web", networks: [{ name: "front", aliases: ["www"] }] });
  const db = await sandboxes.run({ name: "db", networks: [{ name: "back" }] });
  assertEquals(await linesOf(web, "hosts"), [line(web, "www")]);
  const { ips: [, back = ""] } = await sandboxes.connect("web", { name: "back", aliases: ["client"] });
  const both = [line(web, "www"), `${back}\tweb web.default client`];
  assertEquals(await linesOf(web, "hosts"), [...both, line(db)]);
  assertEquals(await linesOf(db, "hosts"), [line(db), both[1]]);
  await sandboxes.disconnect("web", "back");
  assertEquals(await linesOf(db, "hosts"), [line(db)]);
  // Another process of podwire.
  const other = runtime(world).sandboxes;
  const api = await other.run({ name: "api", namespace: "shop", networks: [{ name: "front" }] });
  assertEquals(await linesOf(web, "hosts"), [line(web, "www"), `${api.ips[0]}\tapi.shop`]);
  assertEquals(await linesOf(api, "hosts"), [
    `${api.ips[0]}\tapi api.shop`,
    `${web.ips[0]}\tweb.default www.default`,
  ]);
  await other.stop("web");
  assertEquals(await linesOf(api, "hosts"), [`${api.ips[0]}\tapi api.shop`]);
  assertEquals((await sandboxes.get("web")).files, null);
  for (const id of [web.id, db.id, api.id]) await sandboxes.remove(id);
  for (const folder of ["sandboxes", "networks"]) {
    assertEquals([...Deno.readDirSync(`${world.dir}/state/inside/${folder}`)], []);
  }
});

insideTest(
  "the resolv.conf has the name servers of the request, else those of the networks",
  async (world) => {
    const dns = { nameservers: ["10.0.0.53"], search: ["front.example"], options: ["ndots:2"] };
    await bridgeNetwork(world, "front", { more: { ...DNS, dns } });
    await bridgeNetwork(world, "plain", { number: 1, more: { ...DNS, bridge: `${world.bridge}b` } });
    const { sandboxes } = runtime(world);
    const given = await sandboxes.run({ name: "given", networks: [{ name: "plain" }, { name: "front" }] });
    assertEquals(await linesOf(given, "resolvConf"), [
      "search front.example",
      "nameserver 10.0.0.53",
      "options ndots:2",
    ]);
    const wanted = { servers: ["192.0.2.1"], searches: ["a.example"], options: ["edns0"] };
    const asked = await sandboxes.run({ name: "asked", networks: [{ name: "plain", dns: wanted }] });
    assertEquals(await linesOf(asked, "resolvConf"), [
      "search a.example",
      "nameserver 192.0.2.1",
      "options edns0",
    ]);
    for (const { id } of [given, asked]) await sandboxes.remove(id);
  },
);

insideTest(
  "a sandbox that was torn down by recovery is forgotten by the others, and what was lost is made anew",
  async (world) => {
    await bridgeNetwork(world, "front", { more: DNS });
    const podwire = runtime(world);
    const { sandboxes } = podwire;
    const web = await sandboxes.run({ name: "web", networks: [{ name: "front" }] });
    const db = await sandboxes.run({ name: "db", networks: [{ name: "front" }] });
    const inode = (await Deno.stat(web.files!.hosts)).ino;
    await Deno.remove(`${world.dir}/state/inside/networks`, { recursive: true });
    await Deno.remove(`${world.dir}/state/inside/sandboxes/${db.id}`, { recursive: true });
    await Deno.writeTextFile(web.files!.hosts, "# changed\n");
    await podwire.recover();
    assertEquals(await linesOf(web, "hosts"), [line(web), line(db)]);
    assertEquals(await linesOf(db, "hosts"), [line(db), line(web)]);
    assertEquals((await Deno.stat(web.files!.hosts)).ino, inode);
    for (const { id } of [web, db]) await sandboxes.remove(id);
  },
);

insideTest("a warm sandbox is known to no other before it has its name", async (world) => {
  await bridgeNetwork(world, "front", { more: DNS });
  const podwire = runtime(world);
  const web = await podwire.sandboxes.run({ name: "web", networks: [{ name: "front" }] });
  const dirs = {
    confDir: `${world.dir}/conf`,
    cacheDir: `${world.dir}/cache`,
    stateDir: `${world.dir}/state`,
  };
  {
    await using live = await LiveRuntime.open({ ...dirs, ...FLAVOURS[0]!.options });
    await using warm = await live.warmSandboxes();
    const one = await warm.make("front", new AbortController().signal);
    assertEquals(await linesOf(web, "hosts"), [line(web)]);
    const claimed = await warm.claim(one, { name: "claimed", networks: [{ name: "front" }] });
    if (claimed === undefined) throw new Error("Cannot go on: it was not claimed");
    assertEquals(await linesOf(web, "hosts"), [line(web), line(claimed)]);
    assertEquals(await linesOf(claimed, "hosts"), [line(claimed), line(web)]);
    await podwire.sandboxes.remove(claimed.id);
    assertEquals(await linesOf(web, "hosts"), [line(web)]);
  }
  await podwire.sandboxes.remove(web.id);
});

insideTest("a run succeeds where the files cannot be written, and says so", async (world) => {
  await bridgeNetwork(world, "front", { more: DNS });
  await Deno.mkdir(`${world.dir}/state`, { mode: 0o700 });
  await Deno.writeTextFile(`${world.dir}/state/inside`, "");
  const warnings: string[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (msg: string) => void warnings.push(msg) };
  const { sandboxes } = runtimeOf(world, FLAVOURS[0]!, { log });
  const web = await sandboxes.run({ name: "web", networks: [{ name: "front" }] });
  assertNotEquals(warnings, []);
  for (const warning of warnings) {
    assertMatch(warning, /^Cannot write the hosts and resolv\.conf of a sandbox: /);
  }
  await sandboxes.remove(web.id);
});

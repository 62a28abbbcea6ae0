/**
 * The life of an attachment, for every chain of the table: attached, as its result says, checked, damaged,
 * detached with and without its namespace, and nothing left behind.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError, ERROR_CODES } from "../../lib/cni/error.ts";
import { asResult, type Result } from "../../lib/cni/result.ts";
import { atLeast, type SpecVersion } from "../../lib/cni/version.ts";
import { removeNetns } from "../../lib/host/netns.ts";
import { until } from "../until.ts";
import { need } from "./need.ts";
import { BRIDGE_CASES } from "./plugins_bridge_cases.ts";
import type { PluginCase } from "./plugins_case.ts";
import { needKernel } from "./plugins_kernel.ts";
import { LINK_CASES } from "./plugins_link_cases.ts";
import { PluginWorld, type Release, RELEASES } from "./plugins_world.ts";

/** Asserts that the kernel has the links, addresses and routes of a result. */
export async function assertOnKernel(
  world: PluginWorld,
  { interfaces = [], ips = [], routes = [] }: Result,
  pod = world.path("pod"),
): Promise<void> {
  const [inNode, inPod] = [await world.links(world.node), await world.links(pod)];
  for (const { name, mac, sandbox } of interfaces) {
    const link = (sandbox ? inPod : inNode).get(name);
    assert(link !== undefined, `no link ${name}`);
    if (mac) assertEquals(link.address, mac);
  }
  for (const { address, interface: index } of ips) {
    const { name = "?", sandbox } = interfaces[index ?? -1] ?? {};
    assertEquals(sandbox, pod, `${address} is not in the pod`);
    // deno-lint-ignore no-explicit-any
    const there = inPod.get(name).addr_info.map(({ local, prefixlen }: any) => `${local}/${prefixlen}`);
    assert(there.includes(address), `${address} is not among ${there}`);
  }
  if (routes.length === 0) return;
  const there = await world.json("ip -j route show table all; ip -6 -j route show table all", pod);
  for (const { dst, gw } of routes) {
    const wanted = dst === "0.0.0.0/0" || dst === "::/0" ? "default" : dst;
    const isThere = there.some((route) => route.dst === wanted && (gw === undefined || route.gateway === gw));
    assert(isThere, `no route to ${dst}`);
  }
}

/** The error of a call that must fail. */
export async function errorOf(call: Promise<unknown>): Promise<CniError> {
  return await assertRejects(() => call, CniError);
}

/** Runs what must succeed, or fail with a known message. */
async function outcome(call: Promise<unknown>, known: RegExp | undefined): Promise<void> {
  if (known === undefined) return void await call;
  const { message } = await errorOf(call);
  assert(known.test(message), message);
}

/** One case with one release. */
class Life {
  constructor(readonly world: PluginWorld, readonly each: PluginCase) {}

  get #request() {
    return this.world.request("pod", this.each.request);
  }

  get #defects() {
    return this.each.defects?.[this.world.release];
  }

  async add() {
    return await this.world.podwire.addJson(this.world.name, this.#request);
  }

  async del(): Promise<void> {
    const { del } = this.#defects ?? {};
    if (del !== undefined) await outcome(this.world.podwire.del(this.world.name, this.#request), del);
    await this.world.podwire.del(this.world.name, this.#request);
  }

  async check(): Promise<void> {
    await this.world.podwire.check(this.world.name, this.#request);
  }

  async whole(version: SpecVersion): Promise<void> {
    const { world, each } = this;
    const before = await world.left();
    const document = await this.add();
    assertEquals(document.cniVersion, version);
    const result = asResult(document);
    await assertOnKernel(world, result);
    await each.effect?.(world, result);
    if (atLeast(version, "0.4.0")) await outcome(this.check(), this.#defects?.check);
    else assertEquals((await errorOf(this.check())).code, ERROR_CODES.incompatibleVersion);
    await this.del();
    assertEquals(await world.left(), before);
    await outcome(world.podwire.del(world.name, this.#request), this.#defects?.delAgain);
  }

  async damaged(): Promise<void> {
    await this.add();
    const known = this.#defects?.check !== undefined;
    for (const { script, where = "pod", noticedBy } of known ? [] : this.each.damages) {
      await this.world.sh(script, this.world.path(where));
      const { message, context } = await errorOf(this.check());
      assertEquals(context.plugin?.type, noticedBy, `${script}: ${message}`);
    }
    await this.world.podwire.del(this.world.name, this.#request);
  }

  /** Whether it could be detached. */
  async withoutNamespace(): Promise<boolean> {
    await this.add();
    await removeNetns(this.world.path("pod"));
    const { delGone } = this.#defects ?? {};
    await outcome(this.world.podwire.del(this.world.name, this.#request), delGone);
    if (delGone !== undefined) {
      const [record] = await this.world.podwire.attachments();
      assertEquals({ state: record?.state, attempts: record?.attempts }, { state: "failed", attempts: 1 });
      return false;
    }
    await this.world.podwire.del(this.world.name, { ...this.#request, netns: "" });
    return true;
  }

  /** What is left, except what the plugins can no longer find. */
  async left(): Promise<string[]> {
    const left = await this.world.left();
    const { leaks } = this.each;
    return leaks === undefined ? left : left.filter((line) => !leaks.test(line));
  }
}

function register(each: PluginCase, release: Release, version: SpecVersion, isNewest: boolean): void {
  const { ignore } = need("root", "ip", RELEASES[release].needs);
  const name = `${each.name}: attached, checked and detached (plugins ${release}, CNI ${version})`;
  const kernel = needKernel(name, ...each.needs ?? []);
  Deno.test({
    name: kernel.name,
    ignore: ignore || kernel.ignore,
    fn: async () => {
      await using world = await PluginWorld.make(release, "pod");
      await each.prepare?.(world);
      await world.network(version, each.plugins(world));
      const life = new Life(world, each);
      await life.whole(version);
      if (!isNewest) return;
      const before = await life.left();
      await life.damaged();
      assertEquals(await life.left(), before, "after damage");
      if (!await life.withoutNamespace()) return;
      const expected = before.filter((line) => !line.startsWith("pod: "));
      // The kernel removes what a namespace had after the namespace is gone.
      await until(async () => (await life.left()).length <= expected.length, "nothing is left");
      assertEquals(await life.left(), expected, "without the namespace");
    },
  });
}

/** Registers the tests of a release. */
export function registerLives(release: Release): void {
  for (const [index, each] of [...BRIDGE_CASES, ...LINK_CASES].entries()) {
    if (each.releases !== undefined && !each.releases.includes(release)) continue;
    const versions = RELEASES[release].versions.filter((version) => atLeast(version, each.since ?? "0.3.1"));
    const older = versions.slice(0, -1);
    const chosen = each.allVersions ? older : [older[index % older.length]!];
    for (const version of chosen) register(each, release, version, false);
    register(each, release, versions.at(-1)!, true);
  }
}

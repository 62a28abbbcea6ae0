import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ShapingError } from "../../lib/kernel/kernel.ts";
import type { ShapingChange } from "../../lib/kernel/shaping.ts";
import type { TestedKernel } from "./kernels.ts";
import { inside, linkByIp, MAC, OTHER_MAC, type World, worldTest } from "./world.ts";

const MEGABIT = { rate: 125_000, burst: 15_000, limit: 18_125 };

/** Makes `veth0`, whose other end is in the pod, and `ifb0`. */
async function addLinks({ host, pod, apply }: World): Promise<void> {
  const peer = { name: "eth0", mac: OTHER_MAC, netns: pod };
  await apply(
    host,
    { kind: "create-veth", name: "veth0", mac: MAC, peer },
    { kind: "create-link", name: "ifb0", link: { type: "ifb" }, mtu: 1400 },
    { kind: "set-link", name: "ifb0", up: true, txQueueLength: 0 },
  );
}

async function tcJson({ host }: World, ...args: string[]): Promise<Record<string, unknown>[]> {
  return JSON.parse(await inside(host, "tc", "-j", "-r", ...args));
}

/** The tests of the changes of how packets are queued. */
export function shapingSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("an ifb is made with its size and its queue, and shown by its kind", async (world) => {
    await addLinks(world);
    const { kind, mtu, isUp, txQueueLength } = await linkByIp(world.host, "ifb0");
    assertEquals({ kind, mtu, isUp, txQueueLength }, {
      kind: "ifb",
      mtu: 1400,
      isUp: true,
      txQueueLength: 0,
    });
    const [links] = await world.kernel.apply([{ kind: "show-links", of: "ifb" }], { netns: world.host });
    assertEquals(links.map(({ name }) => name), ["ifb0"]);
  });

  test("a limit is what tc shows, it replaces the one before, and goes again", async (world) => {
    const { kernel, host: netns } = world;
    await addLinks(world);
    const limits = [MEGABIT, { rate: 1_250_000_000, burst: 12_500_000, limit: 43_750_000 }, {
      rate: 6_250_000_000,
      burst: 6_250_000,
      limit: 162_500_000,
    }];
    for (const limit of limits) {
      await kernel.shape([{ kind: "limit-rate", device: "veth0", limit }], { netns });
      const [queue] = await tcJson(world, "qdisc", "show", "dev", "veth0");
      const { kind, handle, root, options } = queue as Record<string, Record<string, unknown>>;
      const { rate, limit: waiting, burst } = options ?? {};
      assertEquals({ kind, handle, root, rate, waiting }, {
        ...{ kind: "tbf", handle: "1:", root: true, rate: limit.rate, waiting: limit.limit },
      } as unknown);
      // The kernel counts it in time.
      assert(Math.abs(Number(burst) - limit.burst) <= limit.rate / 1_000_000 + 1, `${burst} ${limit.burst}`);
      const shown = await kernel.shapingOf("veth0", { netns });
      assertEquals(shown.incoming, "unfiltered");
      assertEquals({ ...shown.limit, burst }, { rate: limit.rate, limit: limit.limit, burst });
    }
    const stop: ShapingChange = { kind: "stop-limit", device: "veth0" };
    await kernel.shape([stop, stop], { netns });
    assertEquals(await kernel.shapingOf("veth0", { netns }), { limit: undefined, incoming: "unfiltered" });
    await inside(netns, "tc", "qdisc", "add", "dev", "veth0", "root", "handle", "1:", "pfifo");
    await kernel.shape([stop], { netns });
    assertEquals((await tcJson(world, "qdisc", "show", "dev", "veth0"))[0]?.kind, "pfifo");
  });

  test("what comes in goes through the other interface, and does not any more", async (world) => {
    const { kernel, host: netns } = world;
    await addLinks(world);
    const redirect: ShapingChange = { kind: "redirect", device: "veth0", to: "ifb0" };
    await kernel.shape([redirect], { netns });
    const filters = JSON.stringify(await tcJson(world, "filter", "show", "dev", "veth0", "parent", "ffff:"));
    assertStringIncludes(filters, '"to_dev":"ifb0"');
    assertStringIncludes(filters, '"flowid":"1:1"');
    assertStringIncludes(filters, '"control_action":{"type":"stolen"}');
    assertEquals((await kernel.shapingOf("veth0", { netns })).incoming, { redirectsTo: "ifb0" });
    const error = await assertRejects(() => kernel.shape([redirect], { netns }), ShapingError);
    assertEquals(error.problem, "exists");
    assertStringIncludes(error.message, 'Cannot redirect what "veth0" receives to "ifb0": ');
    const stop: ShapingChange = { kind: "stop-redirect", device: "veth0" };
    const incoming = async () => (await kernel.shapingOf("veth0", { netns })).incoming;
    await inside(netns, "ip", "link", "del", "ifb0");
    assertEquals(await incoming(), "redirected to nothing");
    await inside(netns, "tc", "filter", "del", "dev", "veth0", "parent", "ffff:");
    assertEquals(await incoming(), "no filters");
    const drop = "protocol all prio 1 u32 match u32 0 0 flowid 1:1";
    await inside(netns, "tc", "filter", "add", "dev", "veth0", "parent", "ffff:", ...drop.split(" "));
    assertEquals(await incoming(), "other filters");
    await kernel.shape([stop, stop], { netns });
    assertEquals(await kernel.shapingOf("veth0", { netns }), { limit: undefined, incoming: "unfiltered" });
  });

  test("an interface that is missing is named, and what came before it stays", async (world) => {
    const { kernel, host: netns } = world;
    await addLinks(world);
    const limit = (device: string): ShapingChange => ({ kind: "limit-rate", device, limit: MEGABIT });
    const error = await assertRejects(
      () => kernel.shape([limit("veth0"), limit("none"), limit("ifb0")], { netns }),
      ShapingError,
    );
    assertEquals(error.problem, "missing");
    assertStringIncludes(error.message, 'Cannot limit the rate of "none": ');
    assertEquals((await kernel.shapingOf("veth0", { netns })).limit?.rate, MEGABIT.rate);
    assertEquals((await kernel.shapingOf("ifb0", { netns })).limit, undefined);
    await assertRejects(() => kernel.shapingOf("none", { netns }), ShapingError, 'the queues of "none"');
  });
}

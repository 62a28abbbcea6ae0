import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { netnsId } from "../../lib/host/netns.ts";
import type { Operation } from "../../lib/kernel/operation.ts";
import type { TestedKernel } from "./kernels.ts";
import { cidr, inside, ip, linkByIp, MAC, names, sh, type World, worldTest } from "./world.ts";

const bridge = (name: string) => ({ kind: "create-bridge", name, mac: MAC }) as const;

/** The tests of what all operations have in common. */
export function callSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("kernel parameters are set before the first operation", async (world) => {
    const { kernel, host } = world;
    const value = async (name: string) => (await inside(host, "cat", `/proc/sys/${name}`)).trim();
    const [forward, arp] = ["net/ipv4/ip_forward", "net/ipv4/conf/all/arp_notify"];
    const sysctls = [{ name: forward, value: "1", required: true }, { name: arp, value: "1" }] as const;
    const before = await sh(`cat /proc/sys/${forward} /proc/sys/${arp}`);
    await kernel.apply([{ kind: "show-links" }], { netns: host, sysctls });
    assertEquals([await value(forward), await value(arp)], ["1", "1"]);
    await kernel.apply([{ kind: "show-links" }], { netns: host, sysctls });
    await kernel.apply([{ kind: "show-links" }], { netns: host, sysctls: [{ name: arp, value: "0" }] });
    assertEquals([await value(forward), await value(arp)], ["1", "0"]);
    assertEquals(await sh(`cat /proc/sys/${forward} /proc/sys/${arp}`), before);
  });

  test("kernel parameters of this process's namespace can be set before those of another one", async (world) => {
    const { kernel, host } = world;
    const own = "net/ipv4/conf/all/arp_notify";
    const before = (await sh(`cat /proc/sys/${own}`)).trim();
    const other = before === "0" ? "1" : "0";
    const set = async (value: "0" | "1") => {
      await kernel.apply([bridge(`br${value}`)], {
        netns: host,
        sysctls: [{ name: own, value: value === "0" ? "1" : "0", required: true }],
        sysctlsOutside: [{ name: own, value, required: true }],
      });
      return [await sh(`cat /proc/sys/${own}`), await inside(host, "cat", `/proc/sys/${own}`)];
    };
    try {
      assertEquals(await set(other), [`${other}\n`, `${before}\n`]);
    } finally {
      assertEquals(await set(before === "0" ? "0" : "1"), [`${before}\n`, `${other}\n`]);
    }
    const absent = [{ name: "net/ipv4/conf/absent/arp_notify", value: "1", required: true }] as const;
    const expected = { index: undefined, problem: "other" } as const;
    const error = await world.fails(host, [bridge("br2")], expected, { sysctlsOutside: absent });
    assertStringIncludes(error.message, "net/ipv4/conf/absent/arp_notify");
    assertEquals(await names(host), ["br0", "br1", "lo"]);
  });

  test("a kernel parameter that cannot be set fails the call only if it is required", async (world) => {
    const { kernel, host } = world;
    const name = "net/ipv4/conf/absent/arp_notify";
    await kernel.apply([bridge("br0")], { netns: host, sysctls: [{ name, value: "1" }] });
    const sysctls = [{ name, value: "1", required: true }] as const;
    const expected = { index: undefined, problem: "other" } as const;
    const error = await world.fails(host, [bridge("br1")], expected, { sysctls });
    assertStringIncludes(error.message, name);
    assertEquals(await names(host), ["br0", "lo"]);
  });

  test("the namespace must be one", async (world) => {
    const { dir } = world;
    await Deno.writeTextFile(`${dir}/file`, "");
    await sh(
      'mkfifo "$0/pipe" && touch "$0/uts" && unshare --uts="$0/uts" true && ln -s absent "$0/link"',
      dir,
    );
    const places = [
      ["absent", "missing"],
      ["file/below", "missing"],
      ["link", "missing"],
      ["file", "other"],
      ["", "other"],
      ["pipe", "other"],
      ["uts", "other"],
    ] as const;
    for (const [name, problem] of places) {
      const path = `${dir}/${name}`;
      const error = await world.fails(path, [{ kind: "show-links" }], { index: undefined, problem });
      assertStringIncludes(error.message, "Cannot change the network: ");
      assertStringIncludes(error.message, path);
    }
  });

  test("a signal that has fired stops everything", async ({ kernel, host, dir }) => {
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    const calls = [
      () => kernel.apply([bridge("br0")], { netns: host, signal }),
      () => kernel.apply([bridge("br0")], { signal }),
      () => kernel.createNetns(`${dir}/a`, { signal }),
      () => kernel.pinNetns(host, `${dir}/a`, { signal }),
      () => kernel.removeNetns(host, { signal }),
    ];
    for (const call of calls) assertEquals(await assertRejects(call), reason);
    assertEquals(await names(host), ["lo"]);
    await assertRejects(() => Deno.lstat(`${dir}/a`), Deno.errors.NotFound);
  });

  test("a signal that fires stops the next operation", async ({ kernel, host }) => {
    const reason = new Error("enough");
    const stop = new AbortController();
    const operations: readonly Operation[] = Array.from({ length: 50 }, (_, n) => bridge(`br${n}`));
    const call = kernel.apply(operations, { netns: host, signal: stop.signal });
    stop.abort(reason);
    assertEquals(await assertRejects(() => call), reason);
    assert(!(await names(host)).includes("br49"));
  });

  test("many pods at once get what was asked for, and this process stays where it is", async (world) => {
    const { kernel, host, dir } = world;
    const own = await netnsId("/proc/self/ns/net");
    await world.apply(host, bridge("br0"), { kind: "set-link", name: "br0", up: true });
    const count = 24;
    await Promise.all(Array.from({ length: count }, async (_, n) => {
      const netns = `${dir}/pod${n}`;
      await kernel.createNetns(netns);
      await kernel.apply([{
        kind: "create-veth",
        name: `veth${n}`,
        mac: MAC,
        bridge: "br0",
        peer: { name: "eth0", mac: MAC, netns },
      }], { netns: host });
      await kernel.apply([
        { kind: "set-link", name: "eth0", up: true },
        { kind: "add-address", device: "eth0", address: cidr(`10.1.0.${n + 2}/24`) },
        { kind: "add-route", device: "eth0", dst: cidr("0.0.0.0/0"), gateway: ip("10.1.0.1") },
      ], { netns });
      assertEquals(await netnsId("/proc/self/ns/net"), own);
    }));
    for (let n = 0; n < count; n++) {
      const { addresses, isUp } = await linkByIp(`${dir}/pod${n}`, "eth0");
      assertEquals({ isUp, address: addresses[0]?.address }, { isUp: true, address: `10.1.0.${n + 2}/24` });
    }
    await Promise.all(Array.from({ length: count }, async (_, n) => {
      await kernel.apply([{ kind: "remove-link", name: `veth${n}` }], { netns: host });
      assertEquals(await kernel.removeNetns(`${dir}/pod${n}`), true);
    }));
    assertEquals(await names(host), ["br0", "lo"]);
  });
}

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { KernelError, SysctlError } from "../../lib/kernel/kernel.ts";
import type { TestedKernel } from "./kernels.ts";
import { inside, sh, type World, worldTest } from "./world.ts";

const [TTL, PORTS, RESERVED, FLUSH] = [
  "net/ipv4/ip_default_ttl",
  "net/ipv4/ip_local_port_range",
  "net/ipv4/ip_local_reserved_ports",
  "net/ipv4/route/flush",
];

/** The tests of kernel parameters. */
export function sysctlSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("kernel parameters are read and set in their namespace alone", async ({ kernel, host, pod }) => {
    const before = await sh(`cat /proc/sys/${TTL} /proc/sys/${PORTS}`);
    // Longer than what is read at once.
    const ports = Array.from({ length: 800 }, (_, n) => 20_001 + 2 * n).join(",");
    const values = new Map([[TTL, "77"], [PORTS, "2000 3001"], [RESERVED, ports]]);
    const now = await kernel.writeSysctls(values, { netns: pod });
    assertEquals([...now], [[TTL, "77"], [PORTS, "2000\t3001"], [RESERVED, ports]]);
    assertEquals(await inside(pod, "cat", `/proc/sys/${TTL}`), "77\n");
    assertEquals(await inside(host, "cat", `/proc/sys/${RESERVED}`), "\n");
    assertEquals((await kernel.readSysctls([TTL], { netns: host })).get(TTL), "64");
    assertEquals(
      [...(await kernel.readSysctls([PORTS, TTL])).values()].join("\n"),
      [
        ...before.trim().split("\n").toReversed(),
      ].join("\n"),
    );
    assertEquals(await sh(`cat /proc/sys/${TTL} /proc/sys/${PORTS}`), before);
  });

  test("a kernel parameter that cannot be read has no value", async ({ kernel, pod }) => {
    const values = await kernel.readSysctls(["net/absent", RESERVED, "net/ipv4", TTL], { netns: pod });
    assertEquals([...values], [[RESERVED, ""], [TTL, "64"]]);
    assertEquals([...await kernel.writeSysctls(new Map([[FLUSH, "1"]]), { netns: pod })], []);
  });

  test("the first kernel parameter that cannot be set ends the call, with the reason", async (world) => {
    const { kernel, pod } = world;
    const cases = [
      ["net/absent/one", "1", /No such file|nonexistent/],
      [PORTS, "nonsense", /Invalid argument/],
    ] as const;
    for (const [n, [name, value, why]] of cases.entries()) {
      const values = new Map([[TTL, `${70 + n}`], [name, value], [RESERVED, "9"]]);
      const error = await assertRejects(() => kernel.writeSysctls(values, { netns: pod }), SysctlError);
      assertEquals([error.sysctl, why.test(error.why)], [name, true], error.message);
      assertStringIncludes(error.message, `Cannot set the kernel parameter "${name}": `);
      assertEquals([...await kernel.readSysctls([TTL, RESERVED], { netns: pod })], [[TTL, `${70 + n}`], [
        RESERVED,
        "",
      ]]);
    }
  });

  test("kernel parameters of a namespace that is not there are an error", async ({ kernel, dir }) => {
    const netns = `${dir}/absent`;
    const calls = [
      () => kernel.readSysctls([TTL], { netns }),
      () => kernel.writeSysctls(new Map([[TTL, "7"]]), { netns }),
    ];
    for (const call of calls) {
      assertEquals((await assertRejects(call, KernelError)).problem, "missing");
    }
  });

  test("a signal that has fired stops the reading and the setting", async ({ kernel, pod }) => {
    const reason = new Error("enough");
    const place = { netns: pod, signal: AbortSignal.abort(reason) };
    assertEquals(await assertRejects(() => kernel.readSysctls([TTL], place)), reason);
    assertEquals(await assertRejects(() => kernel.writeSysctls(new Map([[TTL, "7"]]), place)), reason);
    assertEquals((await kernel.readSysctls([TTL], { netns: pod })).get(TTL), "64");
  });
}

// Addresses with a prefix, as the IPAM plugin "static" of both releases wants them.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";
import { CNI_1_1_1, CNI_1_9_1 } from "./need.ts";

const RELEASES = [["cni-1.1.1", CNI_1_1_1], ["cni-1.9.1", CNI_1_9_1]] as const;

/** The addresses of eth0 in the sandbox, as the kernel has them. */
async function inKernel(world: BinaryWorld, name: string): Promise<string[]> {
  const text = await world.done([
    "exec",
    name,
    "--",
    "ip",
    "-o",
    "addr",
    "show",
    "dev",
    "eth0",
    "scope",
    "global",
  ]);
  return [...text.matchAll(/inet6? (\S+)/g)].map(([, address = ""]) => address);
}

for (const [release, dir] of RELEASES) {
  binaryTest(
    `an address with its prefix reaches the plugin static of ${release}`,
    [release],
    async (world) => {
      const more = [`--plugin-dir=${dir}`, "--builtin=off"];
      await world.list([{
        type: "bridge",
        bridge: world.bridge,
        capabilities: { ips: true },
        ipam: { type: "static" },
      }]);
      const [four, six] = [`${world.subnet4}.7`, `${world.subnet6}::7`];
      const ways: readonly (readonly string[])[] = [
        [`--ip=${four}/24`, `--ip=${six}/64`],
        [`--network=${world.network},ip=${four}/24,ip=${six}/64`],
      ];
      for (const [index, way] of ways.entries()) {
        const id = world.id(`way${index}`);
        const { ips, networks } = await world.json(["run", "web", "--id", id, ...way, ...more]);
        assertEquals(ips, [four, six]);
        assertEquals(networks[0].result.ips.map(({ address }: { address: string }) => address), [
          `${four}/24`,
          `${six}/64`,
        ]);
        assertEquals(await inKernel(world, "web"), [`${four}/24`, `${six}/64`]);
        await world.done(["rm", "web", ...more]);
      }
      // Without a prefix this plugin cannot work, and says so.
      const refused = await world.refused(1, [
        "run",
        "web",
        "--id",
        world.id("bare"),
        `--ip=${four}`,
        ...more,
      ]);
      assertStringIncludes(refused.msg, "expected to be in CIDR notation");
      assertMatch(refused.hint, /PREFIX/);
      for (const wrong of [`${four}/33`, `${four}/`, `${four}/x`, `/24`, `${six}/129`, "10.1.1/24"]) {
        for (const flag of [`--ip=${wrong}`, `--network=${world.network},ip=${wrong}`]) {
          const { kind, msg } = await world.refused(2, ["run", "web", flag, ...more]);
          assertEquals(kind, "usage");
          assertStringIncludes(msg, `"${wrong}" is not a valid IP address, with or without /PREFIX`);
          assertMatch(msg, /^--(ip|network ip): /);
        }
      }
      assertEquals(await world.traces(), []);
    },
  );
}

binaryTest(
  "an address with a prefix that the plugin does not give is not accepted as the wanted one",
  [],
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false, capabilities: { ips: true } })]);
    const id = world.id("one");
    // host-local has the prefix of its subnet.
    const refused = await world.refused(1, [
      "run",
      "web",
      "--id",
      id,
      `--ip=${world.subnet4}.7/16`,
      "--builtin=prefer",
    ]);
    assertMatch(refused.msg, /^the network gave \S+\.7\/24, .* instead of \S+\.7\/16$/);
    const { ips } = await world.json([
      "run",
      "web",
      "--id",
      id,
      `--ip=${world.subnet4}.7/24`,
      "--builtin=prefer",
    ]);
    assertStringIncludes(ips.join(), `${world.subnet4}.7`);
    await world.done(["rm", "web"]);
    assertEquals(await world.traces(), []);
  },
);

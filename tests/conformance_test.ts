// How many configurations the built-in plugins and the originals are called with, side by side: docs/plugins.md says it.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("./root/", import.meta.url));
const DOCUMENT = fromFileUrl(new URL("../docs/plugins.md", import.meta.url));

/** Where the configurations are: each is a member of an object, and a loop makes a test of each. */
const TABLES: Readonly<Record<string, readonly (readonly [file: string, name: string])[]>> = {
  bandwidth: [["builtin_bandwidth_test.ts", "CASES"]],
  bridge: [["builtin_bridge_conformance_test.ts", "CASES"], ["builtin_bridge_vlan_test.ts", "CONFIGS"]],
  dummy: [["builtin_dummy_test.ts", "CASES"]],
  firewall: [["firewall_cases.ts", "CASES"]],
  "host-device": [["builtin_host_device_test.ts", "CASES"]],
  ipvlan: [["builtin_ipvlan_test.ts", "CASES"]],
  macvlan: [["builtin_macvlan_conformance_test.ts", "CASES"]],
  portmap: [["builtin_portmap_test.ts", "CASES"]],
  ptp: [["builtin_ptp_test.ts", "CASES"]],
  sbr: [["builtin_sbr_test.ts", "CASES"]],
  static: [["builtin_static_test.ts", "ALIKE"], ["builtin_static_test.ts", "REFUSED"]],
  tuning: [["builtin_tuning_test.ts", "CASES"]],
  vlan: [["builtin_vlan_test.ts", "CASES"]],
  vrf: [["builtin_vrf_test.ts", "CASES"]],
};

/** Counts the members of an object that is the value of a constant. */
function membersOf(source: string, name: string): number {
  const text = new RegExp(`^(?:export )?const ${name}\\b[^=]*= \\{\\n(.*?)^\\}`, "ms").exec(source)?.[1] ??
    "";
  return text.match(/^ {2}(?:"(?:[^"\\]|\\.)*"|\w+)(?=: |,$)/gm)?.length ?? 0;
}

Deno.test("docs/plugins.md says how many configurations each plugin is compared with the original in, 150 in all at least", async () => {
  const counted: Record<string, number> = {};
  for (const [plugin, tables] of Object.entries(TABLES)) {
    for (const [file, name] of tables) {
      const source = await Deno.readTextFile(ROOT + file);
      const count = membersOf(source, name);
      assert(count > 0, `${file} has no ${name}`);
      // A table that no loop runs through would prove nothing.
      const users = file.endsWith("_test.ts")
        ? source
        : await Deno.readTextFile(`${ROOT}builtin_${plugin}_test.ts`);
      assert(
        new RegExp(`\\(${name}\\)|\\b${name}, |\\b${name}\\)`).test(users),
        `nothing uses ${name} of ${file}`,
      );
      counted[plugin] = (counted[plugin] ?? 0) + count;
    }
  }
  const total = Object.values(counted).reduce((sum, count) => sum + count, 0);
  assert(total >= 150, `${total}`);
  const text = (await Deno.readTextFile(DOCUMENT)).replaceAll(/\s+/g, " ");
  const listed = Object.entries(counted).map(([plugin, count]) => `\`${plugin}\` ${count}`).join(", ");
  const sentence =
    `In ${total} configurations the results and the state of the kernel are compared: ${listed}.`;
  assertEquals(text.includes(sentence), true, sentence);
});

Deno.test("the members of a table are counted, whatever they are written like", () => {
  const source =
    'const CASES: Record<string, Case> = {\n  "a: b": one({\n    c: 1,\n  }),\n  d: two,\n  e,\n};\n';
  assertEquals([membersOf(source, "CASES"), membersOf(source, "OTHER")], [3, 0]);
});

// Rules of iptables that are made without iptables: they are byte for byte what it makes, and nothing of anybody is lost.
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand, runningAs } from "../../lib/host/command.ts";
import { knownIptables } from "../../lib/iptables/host_iptables.ts";
import type { RuleForm } from "../../lib/iptables/rule.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, type World } from "./builtin_world.ts";
import { BUSYBOX, IPTABLES_1_8_11, need } from "./need.ts";
import { printedBy } from "../kernel/denow_process.ts";

/** Runs the module where no other test changes the rules, by the program `within` if there is one. */
const printedInOwnNetns = (args: readonly string[], within: readonly string[] = []) =>
  printedBy("../root/iptables_process.ts", ["--allow-all"], args, { namespaces: ["--net"], within });

const NEEDS = { ignore: need("root", "iptables", "nft").ignore || !HAS_LIBC };
const inTests = (name: string) => fromFileUrl(new URL(name, import.meta.url));
const ROUNDS = "15";
const CHANGES = "40";

/** The programs of this machine, and another release in their place. */
const RELEASES = [
  { release: "of this machine", needs: NEEDS, within: [] },
  {
    release: "1.8.11",
    needs: { ignore: NEEDS.ignore || need("busybox", "iptables-1.8.11").ignore },
    within: ["sh", inTests("with_iptables.sh"), BUSYBOX, IPTABLES_1_8_11],
  },
] as const;

for (const { release, needs, within } of RELEASES) {
  Deno.test({
    name:
      "the same lines make the same chains and rules in this process as with iptables-restore, byte for byte, and the " +
      `lists of both are equal: iptables ${release}`,
    ...needs,
    fn: async () => {
      assertEquals(await printedInOwnNetns(["compare", ROUNDS], within), "");
    },
  });

  Deno.test({
    name:
      "changes of iptables-restore, of another process and of this one, at the same time, are all made: iptables " +
      release,
    ...needs,
    fn: async () => {
      assertEquals(await printedInOwnNetns(["race", CHANGES], within), "");
    },
  });

  Deno.test({
    name:
      "rules of other programs are listed in their places, and stay as they are when ours come and go: iptables " +
      release,
    ...needs,
    fn: async () => {
      assertEquals(await printedInOwnNetns(["foreign"], within), "");
    },
  });
}

Deno.test({
  name: "a table with something that is not surely known is left to iptables",
  ...NEEDS,
  fn: async () => {
    const seen = JSON.parse(
      await printedInOwnNetns(["left"]),
    );
    const begin = ["-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT"];
    const ran = ["iptables -w -t filter -S"];
    assertEquals(seen, {
      "an unknown part in a chain of ours": {
        lines: [
          ...begin,
          "-N CNI-FORWARD",
          "-A CNI-FORWARD -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT",
          "",
        ],
        ran,
      },
      "an unknown part in front of a chain of ours": {
        lines: [
          ...begin,
          "-N CNI-FORWARD",
          "-A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.9 -j CNI-FORWARD",
          "",
        ],
        ran,
      },
      // iptables does not work on such a table.
      "a rule that nft has made": { ran },
      "a chain that nft has made": {
        lines: [
          "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.",
          ...begin,
          "",
        ],
        ran,
      },
    });
  },
});

/** Programs of a folder of a test, and whether what they do can be done here. */
class Programs {
  constructor(readonly folder: string) {}

  static async make({ dir }: World, name: string): Promise<Programs> {
    await Deno.mkdir(`${dir}/${name}`);
    return new Programs(`${dir}/${name}`);
  }

  async script(name: string, version: string): Promise<void> {
    await Deno.writeTextFile(`${this.folder}/${name}`, `#!/bin/sh\necho "iptables ${version}"\n`, {
      mode: 0o755,
    });
  }

  async link(file: string, ...names: readonly string[]): Promise<void> {
    for (const name of names) await Deno.symlink(file, `${this.folder}/${name}`);
  }

  async known(): Promise<RuleForm | undefined> {
    const env = { PATH: `${this.folder}:/usr/bin:/bin`, LC_ALL: "C" };
    const run = runningAs(runCommand, (request) => runCommand({ ...request, env }), this.folder);
    return await knownIptables(run, 4);
  }
}

Deno.test({
  name:
    "only a known release of the iptables that is built on nftables is replaced, and the file is looked at again",
  ...NEEDS,
  fn: inWorld(async (world) => {
    const names = ["iptables", "iptables-restore"];
    const multi = "xtables-nft-multi";
    assertEquals(await knownIptables(runCommand, 4), "1.8.9");
    assertEquals(await knownIptables(runCommand, 6), "1.8.9");
    // As in a namespace of another process, or on another machine.
    assertEquals(await knownIptables((request) => runCommand(request), 4), undefined);

    const none = await Programs.make(world, "none");
    assertEquals(await none.known(), undefined);

    const legacy = await Programs.make(world, "legacy");
    await legacy.script("xtables-legacy-multi", "v1.8.9 (legacy)");
    await legacy.link("xtables-legacy-multi", ...names);
    assertEquals(await legacy.known(), undefined);

    const renamed = await Programs.make(world, "renamed");
    await renamed.script("other", "v1.8.9 (nf_tables)");
    await renamed.link("other", ...names);
    assertEquals(await renamed.known(), undefined);

    const mixed = await Programs.make(world, "mixed");
    await mixed.script(multi, "v1.8.9 (nf_tables)");
    await mixed.link(multi, "iptables");
    await mixed.script("iptables-restore", "v1.8.9 (nf_tables)");
    assertEquals(await mixed.known(), undefined);

    const changing = await Programs.make(world, "changing");
    await changing.script(multi, "v1.8.4 (nf_tables)");
    await changing.link(multi, ...names);
    assertEquals(await changing.known(), undefined);
    await changing.script("next", "v1.8.9 (nf_tables)");
    await Deno.rename(`${changing.folder}/next`, `${changing.folder}/${multi}`);
    assertEquals(await changing.known(), "1.8.9");
    await changing.script("later", "v1.8.11 (nf_tables)");
    await Deno.rename(`${changing.folder}/later`, `${changing.folder}/${multi}`);
    assertEquals(await changing.known(), "1.8.10");
    // An unknown one, that begins as a known one.
    await changing.script("odd", "v1.8.11.1 (nf_tables)");
    await Deno.rename(`${changing.folder}/odd`, `${changing.folder}/${multi}`);
    assertEquals(await changing.known(), undefined);
    await changing.script("last", "v1.8.9 (legacy)");
    await Deno.rename(`${changing.folder}/last`, `${changing.folder}/${multi}`);
    assertEquals(await changing.known(), undefined);
  }),
});

// Rules of iptables that are made without iptables: they are byte for byte what it makes, and nothing of anybody is lost.
import { assertEquals } from "@std/assert";
import { runCommand, runningAs } from "../../lib/host/command.ts";
import { isKnownIptables } from "../../lib/iptables/host_iptables.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, type World } from "./builtin_world.ts";
import { need } from "./need.ts";
import { printedBy } from "../kernel/denow_process.ts";

/** Where no other test changes the rules. */
const OWN_NETNS = { namespaces: ["--net"] };

const NEEDS = { ignore: need("root", "iptables", "nft").ignore || !HAS_LIBC };
const ROUNDS = "15";
const CHANGES = "40";

Deno.test({
  name:
    "the same lines make the same chains and rules in this process as with iptables-restore, byte for byte, and the " +
    "lists of both are equal",
  ...NEEDS,
  fn: async () => {
    assertEquals(
      await printedBy("../root/iptables_process.ts", ["--allow-all"], ["compare", ROUNDS], OWN_NETNS),
      "",
    );
  },
});

Deno.test({
  name: "changes of iptables-restore, of another process and of this one, at the same time, are all made",
  ...NEEDS,
  fn: async () => {
    assertEquals(
      await printedBy("../root/iptables_process.ts", ["--allow-all"], ["race", CHANGES], OWN_NETNS),
      "",
    );
  },
});

Deno.test({
  name: "rules of other programs are listed in their places, and stay as they are when ours come and go",
  ...NEEDS,
  fn: async () => {
    assertEquals(await printedBy("../root/iptables_process.ts", ["--allow-all"], ["foreign"], OWN_NETNS), "");
  },
});

Deno.test({
  name: "a table with something that is not surely known is left to iptables",
  ...NEEDS,
  fn: async () => {
    const seen = JSON.parse(
      await printedBy("../root/iptables_process.ts", ["--allow-all"], ["left"], OWN_NETNS),
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

  async areKnown(): Promise<boolean> {
    const env = { PATH: `${this.folder}:/usr/bin:/bin`, LC_ALL: "C" };
    const run = runningAs(runCommand, (request) => runCommand({ ...request, env }), this.folder);
    return await isKnownIptables(run, 4);
  }
}

Deno.test({
  name:
    "only a known release of the iptables that is built on nftables is replaced, and the file is looked at again",
  ...NEEDS,
  fn: inWorld(async (world) => {
    const names = ["iptables", "iptables-restore"];
    const multi = "xtables-nft-multi";
    assertEquals(await isKnownIptables(runCommand, 4), true);
    assertEquals(await isKnownIptables(runCommand, 6), true);
    // As in a namespace of another process, or on another machine.
    assertEquals(await isKnownIptables((request) => runCommand(request), 4), false);

    const none = await Programs.make(world, "none");
    assertEquals(await none.areKnown(), false);

    const legacy = await Programs.make(world, "legacy");
    await legacy.script("xtables-legacy-multi", "v1.8.9 (legacy)");
    await legacy.link("xtables-legacy-multi", ...names);
    assertEquals(await legacy.areKnown(), false);

    const renamed = await Programs.make(world, "renamed");
    await renamed.script("other", "v1.8.9 (nf_tables)");
    await renamed.link("other", ...names);
    assertEquals(await renamed.areKnown(), false);

    const mixed = await Programs.make(world, "mixed");
    await mixed.script(multi, "v1.8.9 (nf_tables)");
    await mixed.link(multi, "iptables");
    await mixed.script("iptables-restore", "v1.8.9 (nf_tables)");
    assertEquals(await mixed.areKnown(), false);

    const changing = await Programs.make(world, "changing");
    await changing.script(multi, "v1.8.4 (nf_tables)");
    await changing.link(multi, ...names);
    assertEquals(await changing.areKnown(), false);
    await changing.script("next", "v1.8.9 (nf_tables)");
    await Deno.rename(`${changing.folder}/next`, `${changing.folder}/${multi}`);
    assertEquals(await changing.areKnown(), true);
    await changing.script("last", "v1.8.9 (legacy)");
    await Deno.rename(`${changing.folder}/last`, `${changing.folder}/${multi}`);
    assertEquals(await changing.areKnown(), false);
  }),
});

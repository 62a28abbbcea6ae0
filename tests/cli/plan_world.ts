// A machine with two plugins that record their calls, for the tests of plans.
import { writeExecutable } from "../executable.ts";
import { list, write } from "../lint/world.ts";
import { inTempDir } from "../temp_dir.ts";

/** A plugin that records its input, and answers with a result that has the number of its calls. */
const PLUGIN = `#!/bin/sh
cat >"$0.$CNI_IFNAME.stdin"
env | LC_ALL=C sort >"$0.$CNI_IFNAME.env"
echo '{"cniVersion": "1.0.0", "ips": [], "dns": {}}'
`;

const NET = list("net", [
  { type: "pw-plan-one", password: "secret", capabilities: { ips: true } },
  { type: "pw-plan-two", apiToken: "t", note: "it's" },
]);

/** A machine with two plugins and one network. */
export async function inWorld<T>(body: (dir: string, args: readonly string[]) => Promise<T>): Promise<T> {
  return await inTempDir(async (dir) => {
    await write(`${dir}/conf`, { "10-net.conflist": NET });
    await Deno.mkdir(`${dir}/bin`);
    for (const name of ["pw-plan-one", "pw-plan-two"]) writeExecutable(`${dir}/bin/${name}`, PLUGIN);
    const dirs = {
      "conf-dir": "conf",
      "plugin-dir": "bin",
      "state-dir": "state",
      "cache-dir": "cache",
      "netns-dir": "netns",
    };
    return await body(dir, Object.entries(dirs).flatMap(([flag, name]) => [`--${flag}`, `${dir}/${name}`]));
  });
}

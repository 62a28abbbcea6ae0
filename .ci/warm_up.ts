// Calls what one-shot commands call, and writes the code that V8 has made for it into the file that its argument names.
// It needs no root and changes nothing but a directory of its own: the namespace is that of this process, in which its
// plugin makes nothing.
import { CODE_CACHE, loadScript } from "./load_script.ts";

const NETWORK = "one";
const NETNS = "/proc/self/ns/net";
/** No interface has it. */
const IF_NAME = "podwire-none";
/** Prints the same answer to every verb. */
const PLUGIN = `#!/usr/bin/tail -n+2
{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"], "ips": [{"address": "10.1.0.2/24"}]}
`;
const ATTACHMENT = [NETWORK, NETNS, "--ifname", IF_NAME];
const COMMANDS = [["add", ...ATTACHMENT], ["check", ...ATTACHMENT], ["del", ...ATTACHMENT]];

async function makeSite(dir: string): Promise<readonly string[]> {
  for (const name of ["bin", "conf"]) await Deno.mkdir(`${dir}/${name}`);
  await Deno.writeTextFile(`${dir}/bin/nothing`, PLUGIN, { mode: 0o755 });
  const list = { cniVersion: "1.0.0", name: NETWORK, plugins: [{ type: "nothing" }] };
  await Deno.writeTextFile(`${dir}/conf/${NETWORK}.conflist`, JSON.stringify(list));
  return [
    `--conf-dir=${dir}/conf`,
    `--plugin-dir=${dir}/bin`,
    ...["state", "cache", "netns"].map((name) => `--${name}-dir=${dir}/${name}`),
  ];
}

async function warmUp(output: string): Promise<void> {
  const { program, script } = loadScript(import.meta.dirname ?? "");
  const dir = await Deno.makeTempDir({ prefix: "podwire-warm-up-" });
  try {
    const flags = await makeSite(dir);
    for (const args of COMMANDS) {
      const io = {
        ...program.processIo(),
        args: [...flags, ...args],
        env: (name: string) => name === "CNI_NETNS_OVERRIDE" ? "1" : undefined,
        write: () => {},
        uid: () => 0,
      };
      const code = await program.main(io);
      // The program works nevertheless; what was not called starts more slowly.
      if (code !== 0) {
        console.error(`compile: \`podwire ${args[0]}\` fails here, so that it gets less ready-made code`);
      }
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
  await Deno.writeFile(output, script.createCachedData());
}

if (import.meta.main) await warmUp(Deno.args[0] ?? CODE_CACHE);

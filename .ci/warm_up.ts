// Calls what one-shot commands call, in the directory of its first argument, and writes the code that V8 has made for it
// into the file of the second. It needs no root and changes nothing but that directory: the namespace is that of this
// process, in which its plugin makes nothing.
import { loadScript } from "./load_script.ts";

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

/** Makes the directories, unless an earlier process has made them; returns the options that name them. */
async function makeSite(dir: string): Promise<readonly string[]> {
  for (const name of ["bin", "conf"]) await Deno.mkdir(`${dir}/${name}`, { recursive: true });
  await Deno.writeTextFile(`${dir}/bin/nothing`, PLUGIN, { mode: 0o755 });
  const list = { cniVersion: "1.0.0", name: NETWORK, plugins: [{ type: "nothing" }] };
  await Deno.writeTextFile(`${dir}/conf/${NETWORK}.conflist`, JSON.stringify(list));
  return [
    `--conf-dir=${dir}/conf`,
    `--plugin-dir=${dir}/bin`,
    ...["state", "cache", "netns"].map((name) => `--${name}-dir=${dir}/${name}`),
  ];
}

async function warmUp(dir: string, codeCache: string): Promise<void> {
  const { program, script } = loadScript(import.meta.dirname ?? "");
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
    // The program works nevertheless: what was not called is compiled later.
    if (code !== 0) console.error(`compile: \`podwire ${args[0]}\` fails here, and will start more slowly`);
  }
  await Deno.writeFile(codeCache, script.createCachedData());
}

if (import.meta.main) await warmUp(Deno.args[0] ?? ".", Deno.args[1] ?? "");

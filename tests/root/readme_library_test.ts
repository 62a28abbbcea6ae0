// The README's library example, with exactly its flags, then with each one left out.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Podwire } from "../../mod.ts";
import { need } from "./need.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const README = Deno.readTextFileSync(`${ROOT}README.md`);

/** The first code block of that language after the heading. */
function block(heading: string, language: string): string {
  const section = README.slice(README.indexOf(`\n## ${heading}\n`));
  const [, code] = new RegExp(`\`\`\`${language}\n(.*?)\n\`\`\``, "s").exec(section) ?? [];
  if (code === undefined) throw new Error(`the README has no ${language} under "${heading}"`);
  return code;
}

/** The flags of a `deno run` command, each with its values. */
function flagsOf(command: string): Map<string, string[]> {
  const flags = [...command.matchAll(/--allow-(\w+)=(\S+)/g)];
  return new Map(flags.map(([, name = "", values = ""]) => [name, values.split(",")]));
}

async function run(script: string, flags: Map<string, string[]>) {
  const args = [...flags].filter(([, values]) => values.length > 0)
    .map(([name, values]) => `--allow-${name}=${values.join(",")}`);
  const command = new Deno.Command(`${ROOT}denow`, { args: ["run", "-q", "--no-prompt", ...args, script] });
  const { code, stdout, stderr } = await command.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test({
  name:
    "the library example of the README runs with exactly its permissions, and names each one that is missing",
  ...need("root", "ip", "nft"),
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-readme-" });
    const stateDir = `${dir}/state`;
    const podwire = new Podwire({ stateDir });
    const example = block("The library", "ts").replace(
      "new Podwire({",
      `new Podwire({ stateDir: "${stateDir}",`,
    );
    const flags = flagsOf(block("The library", "sh").replaceAll("/var/lib/podwire", stateDir));
    let count = 0;
    /** The example under a name of its own: what could not be removed keeps its name. */
    const job = async () => {
      const script = `${dir}/job${count++}.ts`;
      await Deno.writeTextFile(script, example.replace('"job"', `"${script.slice(dir.length + 1, -3)}"`));
      return script;
    };
    try {
      assertEquals([...flags.keys()], ["read", "write", "run"]);
      const whole = await run(await job(), flags);
      assertEquals(whole.code, 0, whole.stderr);
      assertStringIncludes(whole.stdout, "/run/netns/podwire");

      let refused = 0;
      for (const [kind, values] of flags) {
        for (const value of values) {
          const without = new Map(flags).set(kind, values.filter((other) => other !== value));
          const { code, stderr } = await run(await job(), without);
          // Which programs and folders are checked depends on this machine.
          if (code === 0) continue;
          refused++;
          assertStringIncludes(stderr, `the Deno permission --allow-${kind}=`, `without ${kind}=${value}`);
        }
      }
      // At least what every machine needs: four folders to write, and the programs of iproute2 and
      // util-linux.
      assert(refused >= 12, `only ${refused} of the permissions were missed`);
    } finally {
      for (const { id } of await podwire.sandboxes.list()) await podwire.sandboxes.remove(id);
      assertEquals((await podwire.recover()).failed, []);
      assertEquals(await podwire.attachments(), []);
      await Deno.remove(dir, { recursive: true });
    }
  },
});

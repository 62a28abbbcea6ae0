// The programs in examples/, with exactly the flags that stand above each, then with each one left out.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { openSocketServer } from "../../lib/daemon/server.ts";
import { denoRules, isSince } from "../../lib/host/deno_rules.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { Podwire } from "../../mod.ts";
import { FakePlugins } from "../../testing.ts";
import { fakeDaemon, SANDBOX } from "../daemon/fake_context.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "./need.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const README = Deno.readTextFileSync(`${ROOT}README.md`);
const NEEDS = need("root", "ip", "nft");

type Flags = ReadonlyMap<string, readonly string[]>;

/** A program of examples/: its text, and the flags of the command above it. */
interface Example {
  readonly text: string;
  readonly flags: Flags;
}

function exampleOf(name: string): Example {
  const text = Deno.readTextFileSync(`${ROOT}examples/${name}.ts`);
  assertStringIncludes(text, `examples/${name}.ts`);
  return { text, flags: flagsOf(text) };
}

/** Returns the flags of a `deno run` command, each with its values, and those that only newer versions of Deno need. */
function flagsOf(command: string): Flags {
  const here = command.replaceAll(
    /^\/\/ From Deno (\S+) on also: (.*)$/gm,
    (_, since: string, flag: string) => isSince(Deno.version.deno, since.split(".").map(Number)) ? flag : "",
  );
  const flags = [...here.matchAll(/--allow-(\w+)=(\S+)/g)];
  return new Map(flags.map(([, name = "", values = ""]) => [name, values.split(",")]));
}

/** Returns the first code block of that language behind the heading of README. */
function block(heading: string, language: string): string {
  const section = README.slice(README.indexOf(`\n## ${heading}\n`));
  const [, code] = new RegExp(`\`\`\`${language}\n(.*?)\n\`\`\``, "s").exec(section) ?? [];
  if (code === undefined) throw new Error(`the README has no ${language} under "${heading}"`);
  return code;
}

/** Replaces the paths of an example by those of the test. */
function moved({ text, flags }: Example, paths: Readonly<Record<string, string>>): Example {
  const move = (from: string) =>
    Object.entries(paths).reduce((text, [path, to]) => text.replaceAll(path, to), from);
  return {
    text: move(text),
    flags: new Map([...flags].map(([name, values]) => [name, values.map(move)])),
  };
}

/** How a program ended. */
interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface RunOptions {
  readonly args?: string[];
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  /** Flags without values. */
  readonly whole?: readonly string[];
}

let count = 0;

/** Runs a program under a name of its own: a sandbox that could not be removed keeps its name. */
async function run(
  dir: string,
  text: string,
  flags: Flags,
  { args = [], env = {}, stdin = "", whole = [] }: RunOptions = {},
): Promise<Ended> {
  const name = `job${count++}`;
  const script = `${dir}/${name}.ts`;
  await Deno.writeTextFile(script, text.replaceAll('name: "job"', `name: "${name}"`));
  const allowed = [...flags].filter(([, values]) => values.length > 0)
    .map(([name, values]) => `--allow-${name}=${values.join(",")}`);
  const child = new Deno.Command(`${ROOT}denow`, {
    args: ["run", "-q", "--no-prompt", ...allowed, ...whole, script, ...args],
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoded = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decoded(stdout), stderr: decoded(stderr) };
}

/**
 * Runs the program without each of its permissions. Returns those that were missed, each named by the failure, which
 * `failureOf` reads from the output.
 */
async function missedPermissions(
  { text, flags }: Example,
  runWith: (text: string, flags: Flags) => Promise<Ended>,
  failureOf = ({ stderr }: Ended) => stderr,
): Promise<readonly string[]> {
  const missed: string[] = [];
  for (const [kind, values] of flags) {
    for (const value of values) {
      const without = new Map(flags).set(kind, values.filter((other) => other !== value));
      const ended = await runWith(text, without);
      // Which programs and folders are looked at depends on what this machine has.
      if (ended.code === 0) continue;
      missed.push(`${kind}=${value}`);
      const failure = failureOf(ended);
      assertStringIncludes(failure, `the Deno permission --allow-${kind}=`, `without ${kind}=${value}`);
    }
  }
  return missed;
}

/** Returns the message of the error object that a plugin printed. It must print nothing else. */
function printedFailure({ code, stdout, stderr }: Ended): string {
  const { cniVersion: _, msg, ...error } = JSON.parse(stdout);
  assertEquals({ code, stderr, error }, { code: 1, stderr: "", error: { code: 999 } });
  return msg;
}

/** Removes what programs left behind; then nothing may be on record. */
async function clear(podwire: Podwire): Promise<void> {
  for (const { id } of await podwire.sandboxes.list()) await podwire.sandboxes.remove(id);
  assertEquals((await podwire.recover()).failed, []);
  assertEquals(await podwire.attachments(), []);
}

/** Runs `fn` with a folder and a runtime whose records are there; at the end nothing may be left on record. */
async function inWorld(fn: (dir: string, paths: Record<string, string>) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-readme-" });
  const stateDir = `${dir}/state`;
  const podwire = new Podwire({ stateDir });
  try {
    await fn(dir, {
      "/var/lib/podwire": stateDir,
      "new Podwire()": `new Podwire({ stateDir: "${stateDir}" })`,
    });
  } finally {
    await clear(podwire);
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("the library example of README is the one in examples/, with its permissions", () => {
  const { text, flags } = exampleOf("sandbox");
  assertStringIncludes(text, block("The library", "ts"));
  assertEquals(flagsOf(block("The library", "sh")), flags);
  assertEquals(exampleOf("attach").flags, flags);
  assertEquals(exampleOf("signal").flags, flags);
});

Deno.test({
  name:
    "the sandbox example runs with exactly its permissions, names each one that is missing, and leaves nothing",
  ...NEEDS,
  fn: () =>
    inWorld(async (dir, paths) => {
      const example = moved(exampleOf("sandbox"), paths);
      assertEquals([...example.flags.keys()], ["read", "write", "run"]);
      const whole = await run(dir, example.text, example.flags);
      assertEquals(whole.code, 0, whole.stderr);
      assertStringIncludes(whole.stdout, "/run/netns/podwire");
      assertStringIncludes(whole.stdout, "eth0@");
      assertEquals(await new Podwire({ stateDir: `${dir}/state` }).sandboxes.list(), []);
      const missed = await missedPermissions(example, (text, flags) => run(dir, text, flags));
      // At least what every machine needs: four folders to write, and the programs of iproute2 and util-linux.
      assert(missed.length >= 12, `only these permissions were missed: ${missed.join(" ")}`);
    }),
});

/** What runs in the sandbox of the example, and what makes and removes it without `--allow-ffi`. */
const LEFT_OUT = [
  "ip",
  "cat",
  "mount",
  "umount",
  "unshare",
  ...(denoRules().kernelFilesByRead ? ["sh"] : []),
];

Deno.test({
  name:
    "with --allow-ffi the sandbox example needs no program to make and remove the sandbox, and names what is missing",
  ignore: NEEDS.ignore || !HAS_LIBC,
  fn: () =>
    inWorld(async (dir, paths) => {
      const { text, flags } = moved(exampleOf("sandbox"), paths);
      const programs = flags.get("run")?.filter((program) => !LEFT_OUT.includes(program)) ?? [];
      const fewer = { text, flags: new Map(flags).set("run", programs) };
      const whole = ["--allow-ffi"];
      const ended = await run(dir, text, fewer.flags, { whole });
      assertEquals(ended.code, 0, ended.stderr);
      assertStringIncludes(ended.stdout, "eth0@");
      const missed = await missedPermissions(fewer, (text, flags) => run(dir, text, flags, { whole }));
      // At least the four folders to write, and what runs the program inside.
      assert(missed.length >= 5, `only these permissions were missed: ${missed.join(" ")}`);
      assert(missed.includes("run=nsenter"), missed.join(" "));
    }),
});

Deno.test({
  name: "the examples that attach a namespace and give calls a signal run with the same permissions",
  ...NEEDS,
  fn: () =>
    inWorld(async (dir, paths) => {
      const netns = `/run/netns/${dir.slice(dir.lastIndexOf("/") + 1)}`;
      const ip = async (...args: string[]) => await new Deno.Command("ip", { args }).output();
      await ip("netns", "add", netns.slice("/run/netns/".length));
      try {
        const attach = moved(exampleOf("attach"), paths);
        const attached = await run(dir, attach.text, attach.flags, { args: [netns] });
        assertEquals(attached.code, 0, attached.stderr);
        assertStringIncludes(attached.stdout, "10.209.");
      } finally {
        await ip("netns", "delete", netns.slice("/run/netns/".length));
      }
      const signal = moved(exampleOf("signal"), paths);
      const ended = await run(dir, signal.text, signal.flags);
      assertEquals(ended.code, 0, ended.stderr);
      assertStringIncludes(ended.stdout, "podwire true\n");
      assertStringIncludes(ended.stdout, "ready 0\n");
    }),
});

Deno.test({
  name:
    "the example that publishes ports gives them to the plugins of its network, and names each permission that is missing",
  ...NEEDS,
  fn: () =>
    inWorld(async (dir, paths) => {
      await using plugins = await FakePlugins.create();
      await plugins.add("bridge", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
      await plugins.add("portmap", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
      const confDir = `${dir}/net.d`;
      await Deno.mkdir(confDir);
      await Deno.writeTextFile(
        `${confDir}/10-net.conflist`,
        JSON.stringify({
          cniVersion: "1.1.0",
          name: "net",
          plugins: [{ type: "bridge" }, { type: "portmap", capabilities: { portMappings: true } }],
        }),
      );
      const options = { stateDir: `${dir}/state`, confDir, pluginDirs: [plugins.dir] };
      const { text, flags } = moved(exampleOf("publish"), {
        ...paths,
        "new Podwire()": `new Podwire(${JSON.stringify(options)})`,
        "/etc/cni/net.d": confDir,
        "/opt/cni/bin": plugins.dir,
      });
      const read = [...flags.get("read") ?? [], plugins.dir];
      const example = { text, flags: new Map(flags).set("read", read) };
      const { code, stdout, stderr } = await run(dir, text, example.flags);
      assertEquals(code, 0, stderr);
      assertStringIncludes(stdout, "10.1.0.2");
      const calls = await plugins.calls();
      const add = calls.find(({ type, verb }) => type === "portmap" && verb === "ADD");
      assertEquals(add?.config.runtimeConfig, {
        portMappings: [
          { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" },
          { hostIP: "127.0.0.1", hostPort: 8443, containerPort: 443, protocol: "tcp" },
        ],
      });
      const podwire = new Podwire(options);
      const missed = await missedPermissions(example, async (text, flags) => {
        const ended = await run(dir, text, flags);
        // What could not be removed keeps its name and its ports.
        await clear(podwire);
        return ended;
      });
      // At least what every machine needs: five folders to read, three to write, seven programs, and the two
      // plugins. A real node also needs its own plugin folders, and the programs that free what plugins leave.
      assert(missed.length >= 17, `only these permissions were missed: ${missed.join(" ")}`);
      // Without `ss` the example runs, but does not see who has the port.
      using _listener = Deno.listen({ hostname: "127.0.0.1", port: 8443 });
      const refused = await run(dir, text, example.flags);
      assertStringIncludes(refused.stderr, "listens on 127.0.0.1:8443/tcp");
    }),
});

Deno.test("the example of the client asks a daemon, with exactly its permissions", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-readme-" });
  const path = `${dir}/p.sock`;
  const { handler, fake } = fakeDaemon();
  const handle = (request: Parameters<typeof handler.handle>[0]) => handler.handle(request);
  const server = await openSocketServer({ path, handle, log: silentLogger });
  try {
    const example = moved(exampleOf("daemon_client"), { "/run/podwire/podwire.sock": path });
    const { code, stdout, stderr } = await run(dir, example.text, example.flags);
    assertEquals(code, 0, stderr);
    assertEquals(stdout, `[ "${SANDBOX.ips[0]}" ] ready\n1\n`);
    assertEquals(fake.calls.map(([name]) => name), ["run", "get", "remove", "list"]);
    const missed = await missedPermissions(example, (text, flags) => run(dir, text, flags));
    assertEquals(missed.length, example.flags.size);
  } finally {
    await server.close(10_000);
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the example of a plugin answers as the specification demands, with exactly its permissions, and names each one that is missing", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-readme-" });
  try {
    const example = exampleOf("plugin");
    const { text, flags } = example;
    const env = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c1",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
    };
    const stdin = JSON.stringify({ cniVersion: "1.1.0", name: "net", type: "hello" });
    const added = await run(dir, text, flags, { env, stdin });
    assertEquals({ ...added, stdout: JSON.parse(added.stdout) }, {
      code: 0,
      stderr: "",
      stdout: { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: "/run/netns/c1" }] },
    });
    const deleted = await run(dir, text, flags, { env: { ...env, CNI_COMMAND: "DEL" }, stdin });
    assertEquals(deleted, { code: 0, stdout: "", stderr: "nothing is left of c1\n" });
    const add = (text: string, flags: Flags) => run(dir, text, flags, { env, stdin });
    const missed = await missedPermissions(example, add, printedFailure);
    const all = [...flags].flatMap(([kind, values]) => values.map((value) => `${kind}=${value}`));
    // Only older versions of Deno look there by this permission; newer ones run `sh` for it.
    const needless = denoRules().kernelFilesByRead ? [] : ["read=/proc"];
    assertEquals(missed, all.filter((permission) => !needless.includes(permission)));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

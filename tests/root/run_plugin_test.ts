// The skeleton of a plugin in the documentation of runPlugin(), as an executable of its own under `deno run`,
// called by podwire's engine.
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { type CniError, parseNetwork, Podwire } from "../../mod.ts";
import { need } from "./need.ts";
import { until } from "./sandbox_world.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const ENVIRONMENT = "CNI_COMMAND,CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_ARGS,CNI_PATH,CNI_NETNS_OVERRIDE";
const OWN_VARIABLES = ["PATH", "HOME", "DENO_DIR", "DENO_TLS_CA_STORE"];

/** The example, with the library's imports taken from this checkout. */
async function skeleton(): Promise<string> {
  const source = await Deno.readTextFile(`${ROOT}lib/plugin/run_plugin.ts`);
  const [, block = ""] = /@example A plugin, whole\n \* ```ts\n([\s\S]*?) \* ```/.exec(source) ?? [];
  const code = block.replaceAll(/^ \* ?/gm, "");
  return code.replace('"@podwire/podwire"', JSON.stringify(`file://${ROOT}mod.ts`));
}

class PluginWorld implements AsyncDisposable {
  readonly podwire: Podwire;
  readonly netns: string;

  private constructor(readonly dir: string) {
    this.netns = `/run/netns/pwt-plugin-${crypto.randomUUID().slice(-12)}`;
    const environment = Object.fromEntries(
      OWN_VARIABLES.flatMap((name) => {
        const value = Deno.env.get(name);
        return value === undefined ? [] : [[name, value]];
      }),
    );
    this.podwire = new Podwire({
      confDir: `${dir}/conf`,
      pluginDirs: [`${dir}/bin`],
      cacheDir: `${dir}/cache`,
      stateDir: `${dir}/state`,
      netnsDir: `${dir}/netns`,
      environment,
    });
  }

  static async make(): Promise<PluginWorld> {
    const world = new PluginWorld(await Deno.makeTempDir({ prefix: "pwt-run-plugin-" }));
    await Deno.mkdir(`${world.dir}/bin`);
    await ip("netns", "add", world.netns.slice("/run/netns/".length));
    return world;
  }

  /** Writes the program there, as an executable that may read the call and files, and nothing more. */
  async install(type: string, code: string, permissions = ""): Promise<void> {
    const script = `${this.dir}/${type}.ts`;
    await Deno.writeTextFile(script, code);
    const run = `exec ${ROOT}denow run -q --no-prompt --allow-read --allow-env=${ENVIRONMENT} ${permissions}`;
    await Deno.writeTextFile(`${this.dir}/bin/${type}`, `#!/bin/sh\n${run} ${script}\n`, { mode: 0o755 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ip("netns", "delete", this.netns.slice("/run/netns/".length));
    await Deno.remove(this.dir, { recursive: true });
  }
}

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const network = (type: string, more = {}) =>
  parseNetwork(JSON.stringify({ cniVersion: "1.0.0", name: "web", plugins: [{ type, ...more }] }));

Deno.test({
  name: "B74 B80 B82 the plugin skeleton of the documentation works as an executable under `deno run`",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await PluginWorld.make();
    const { podwire, netns } = world;
    await world.install("hello", await skeleton());
    const target = {
      containerId: "run-plugin",
      netns,
      ifName: "eth0",
      args: [],
      capabilityArgs: {},
      owner: "me",
    };
    const list = network("hello");

    assertEquals((await podwire.pluginVersions("hello")).supportedVersions.at(-1), "1.1.0");
    assertEquals(await podwire.validate(list), { cniVersion: "1.0.0", capabilities: [] });
    assertEquals(await podwire.addJson(list, target), {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", sandbox: netns }],
    });
    await podwire.check(list, target);
    await podwire.del(list, target);
    assertEquals(await podwire.attachments(), []);
  },
});

Deno.test({
  name: "B79 B83 a plugin reports an error, delegates, and gets a signal when the runtime ends it",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await PluginWorld.make();
    const { podwire, netns, dir } = world;
    const imports =
      `import { CniError, type Plugin, processIo, runPlugin, SPEC_VERSIONS } from "file://${ROOT}mod.ts";`;
    const verbs = `{
      ADD: async (request) => {
        request.log("adding");
        const result = await request.delegate("addresses", request.config);
        if (request.config.refuse) throw new CniError("plugin", "not here", { code: 107, details: "never" });
        return result;
      },
      CHECK: ({ signal }) => {
        Deno.writeTextFileSync("${dir}/checking", "");
        const { promise, reject } = Promise.withResolvers<void>();
        signal.addEventListener("abort", () => {
          Deno.writeTextFileSync("${dir}/reason", String(signal.reason));
          reject(signal.reason);
        });
        const timer = setInterval(() => {}, 1000);
        return promise.finally(() => clearInterval(timer));
      },
      DEL: async (request) => void await request.delegate("addresses", request.config),
    }`;
    await world.install(
      "main",
      `${imports}
const plugin: Plugin = { about: "CNI plugin main", versions: SPEC_VERSIONS, verbs: ${verbs} };
if (import.meta.main) Deno.exit(await runPlugin(plugin, processIo()));
`,
      `--allow-run --allow-write=${dir}`,
    );
    const addresses = `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_PATH" >>${dir}/delegated
cat >/dev/null
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]}'
`;
    await Deno.writeTextFile(`${dir}/bin/addresses`, addresses, { mode: 0o755 });
    const target = { containerId: "c", netns, ifName: "eth0", args: [], capabilityArgs: {}, owner: "me" };

    const list = network("main");
    assertEquals(await podwire.addJson(list, target), {
      cniVersion: "1.0.0",
      ips: [{ address: "10.1.0.2/24" }],
    });
    assertEquals(await Deno.readTextFile(`${dir}/delegated`), `ADD c ${dir}/bin:/opt/main/bin\n`);

    const checking = new AbortController();
    const check = podwire.check(list, target, { signal: checking.signal }).catch((error: unknown) => error);
    await until(() => Deno.stat(`${dir}/checking`).then(() => true, () => false));
    checking.abort();
    assertEquals((await check as CniError).kind, "cancelled");
    await until(() => Deno.stat(`${dir}/reason`).then(() => true, () => false));
    assertMatch(await Deno.readTextFile(`${dir}/reason`), /interrupted by SIGTERM/);
    await podwire.del(list, target);

    const refusal = await podwire.add(network("main", { refuse: true }), target).catch((error: unknown) =>
      error
    );
    const { code, msg, context } = refusal as CniError;
    assertEquals(
      { code, msg, details: context.details, exitCode: context.exitCode, stderr: context.stderr },
      { code: 107, msg: "not here", details: "never", exitCode: 1, stderr: "adding" },
    );
    assertEquals(await podwire.attachments(), []);
  },
});

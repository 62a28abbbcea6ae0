/**
 * A folder of plugins that are real executables, give scripted answers and record each call. See
 * `testdata/recording_plugin`.
 *
 * ```ts ignore
 * await using plugins = await PluginFolder.make();
 * const net = await plugins.install("net", { ADD: { stdout: '{"ips": [{"address": "10.1.0.2/24"}]}' } });
 * // ... run something with plugins.dir as its plugin directory ...
 * assertEquals((await net.calls()).map(({ verb }) => verb), ["ADD", "DEL"]);
 * ```
 */
import { fromFileUrl } from "@std/path";
import "./open_libc.ts";

const PROGRAM = fromFileUrl(new URL("testdata/recording_plugin", import.meta.url));

/** How a plugin answers one verb. */
export interface Answer {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
  /** Seconds. */
  readonly sleep?: number;
  /** As in kill(1): `KILL`. */
  readonly signal?: string;
  /** Never ends, and has a child that holds the pipes. */
  readonly hang?: boolean;
  /** Does not read its standard input. */
  readonly unread?: boolean;
  /** Shell commands to run while the plugin is called. */
  readonly script?: string;
}

/** One call, as it arrived. */
export interface RecordedCall {
  readonly verb: string;
  /** Where it is recorded: "$call" in scripts. */
  readonly dir: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** What was on standard input. */
  // deno-lint-ignore no-explicit-any
  readonly config: any;
}

/** A folder of recording plugins, removed at the end of the block by `await using`. */
export class PluginFolder implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async make(): Promise<PluginFolder> {
    return new PluginFolder(await Deno.makeTempDir({ prefix: "podwire-plugins-" }));
  }

  /** Adds a plugin of that type. */
  async install(type: string, answers: Readonly<Record<string, Answer>> = {}): Promise<RecordingPlugin> {
    const plugin = new RecordingPlugin(`${this.dir}/${type}`);
    await Deno.mkdir(`${plugin.path}.d/calls`, { recursive: true });
    for (const [verb, answer] of Object.entries(answers)) await plugin.answer(verb, answer);
    await Deno.symlink(PROGRAM, plugin.path);
    return plugin;
  }

  /** The calls of all plugins here in order, each as `TYPE VERB CONTAINER INTERFACE`. */
  async log(): Promise<string[]> {
    return (await readOr(`${this.dir}/calls.log`, "")).split("\n").filter((line) => line !== "");
  }

  /** The calls of all plugins here in order, each as `TYPE VERB`. */
  async verbs(): Promise<string[]> {
    return (await this.log()).map((line) => line.split(" ").slice(0, 2).join(" "));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** One plugin of a {@linkcode PluginFolder}. */
export class RecordingPlugin {
  constructor(readonly path: string) {}

  /** Sets the answer to a verb, or to its `nth` call alone (the first is 1), and drops the one before. */
  async answer(verb: string, answer: Answer, nth?: number): Promise<void> {
    const prefix = `${this.path}.d/${verb}${nth === undefined ? "" : `.${nth}`}`;
    for (const part of ["stdout", "stderr", "code", "sleep", "signal", "hang", "unread", "script"] as const) {
      const value = answer[part];
      if (value !== undefined && value !== false) {
        await Deno.writeTextFile(`${prefix}.${part}`, String(value));
      } else await Deno.remove(`${prefix}.${part}`).catch(ignoreMissing);
    }
  }

  /** All calls so far, in order. */
  async calls(): Promise<readonly RecordedCall[]> {
    const dir = `${this.path}.d/calls`;
    const names = (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
    return await Promise.all(names.map((name) => readCall(`${dir}/${name}`)));
  }
}

async function readCall(dir: string): Promise<RecordedCall> {
  const stdin = await readOr(`${dir}/stdin`, "");
  const environ = await readOr(`${dir}/environ`, "");
  const entries = environ.split("\0").filter((entry) => entry !== "").sort();
  return {
    verb: await readOr(`${dir}/verb`, ""),
    dir,
    env: Object.fromEntries(entries.map((entry) => {
      const at = entry.indexOf("=");
      return [entry.slice(0, at), entry.slice(at + 1)];
    })),
    stdin,
    get config() {
      return JSON.parse(stdin);
    },
  };
}

async function readOr(path: string, otherwise: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    ignoreMissing(error);
    return otherwise;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

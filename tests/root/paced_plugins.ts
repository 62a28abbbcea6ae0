/**
 * Recording plugins with a chosen duration, which pass on the results of those before them in the chain, and
 * record when they begin and end; and the proof from these records that each ADD got its DEL.
 */
import { assert, assertEquals } from "@std/assert";
import type { PluginFolder, RecordedCall, RecordingPlugin } from "../recording_plugin.ts";

/** How long plugins take. */
export interface Pace {
  /** Together with plugin, verb, container and interface it decides how long a call takes. */
  readonly seed: number;
  /** The longest call, in milliseconds, up to 999. */
  readonly mostMs: number;
}

/** A moment in the life of a call. */
export interface Mark {
  readonly moment: "start" | "end";
  readonly plugin: string;
  readonly verb: string;
  readonly containerId: string;
  /** Where the call is recorded. */
  readonly dir: string;
}

/** An ADD without a result yet has no `result`; a DEL without one did not finish. */
const script = ({ seed, mostMs }: Pace) => `
mark() { echo "$1 \${0##*/} $verb $call $CNI_CONTAINERID" >>"\${0%/*}/marks"; }
mark start
sum=$(printf %s "${seed} \${0##*/} $verb $CNI_CONTAINERID $CNI_IFNAME" | cksum)
sum=\${sum%% *}
sleep "0.$(printf %03d $((sum % ${mostMs})))"
result=
if [ "$verb" = ADD ]; then
  config=$(cat "$call/stdin")
  case $config in
    *'"prevResult":'*) result=\${config#*'"prevResult":'}; result=\${result%?} ;;
    *) result='{"cniVersion":"1.1.0","ips":[{"address":"10.'$((sum % 250))'.'$((sum / 250 % 250))'.7/24"}]}' ;;
  esac
fi
printf %s "$result" >"$call/result.new" && mv "$call/result.new" "$call/result"
mark end
printf %s "$result"
exit 0
`;

/** Adds a plugin of that type that is slow for every verb that changes something. */
export async function installPaced(
  plugins: PluginFolder,
  type: string,
  pace: Pace,
): Promise<RecordingPlugin> {
  const answer = { script: script(pace) };
  return await plugins.install(type, { ADD: answer, DEL: answer, GC: answer });
}

/** The marks of all plugins of a folder, in order. */
export async function marksOf(plugins: PluginFolder): Promise<Mark[]> {
  const text = await Deno.readTextFile(`${plugins.dir}/marks`).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  return text.split("\n").filter((line) => line !== "").map((line): Mark => {
    const [moment = "", plugin = "", verb = "", dir = "", containerId = ""] = line.split(" ");
    if (moment !== "start" && moment !== "end") throw new Error(`no mark: ${line}`);
    return { moment, plugin, verb, containerId, dir };
  });
}

/** Drops what was recorded so far. */
export async function forgetCalls(plugins: PluginFolder, all: readonly RecordingPlugin[]): Promise<void> {
  for (const file of ["marks", "calls.log"]) {
    await Deno.writeTextFile(`${plugins.dir}/${file}`, "");
  }
  for (const { path } of all) {
    await Deno.remove(`${path}.d/calls`, { recursive: true });
    await Deno.mkdir(`${path}.d/calls`);
  }
}

/** What the proof needs to know about the pods. */
export interface ProofOptions {
  /** The containers whose set-up was reported as done: the DEL must get its result. */
  readonly done: ReadonlySet<string>;
  /** The containers that are still up. */
  readonly up?: ReadonlySet<string>;
}

/** What was proven. */
export interface Proof {
  /** ADDs that began, those among them that did not finish, and DELs. */
  readonly adds: number;
  readonly cutAdds: number;
  readonly dels: number;
}

/**
 * Proves that each ADD that began got a DEL that finished, with the configuration and arguments of the ADD
 * and its result, and that nothing was added afterwards.
 */
export async function proveTakenBack(
  all: readonly RecordingPlugin[],
  { done, up = new Set() }: ProofOptions,
): Promise<Proof> {
  const proof = { adds: 0, cutAdds: 0, dels: 0 };
  for (const plugin of all) {
    const calls = (await plugin.calls()).filter(({ verb }) => verb === "ADD" || verb === "DEL");
    // A plugin that was ended before it had read its configuration had done nothing.
    const begun = calls.filter(({ stdin }) => isJson(stdin));
    const byAttachment = Map.groupBy(begun, ({ env }) => `${env.CNI_CONTAINERID} ${env.CNI_IFNAME}`);
    for (const [attachment, ofOne] of byAttachment) {
      const [containerId = ""] = attachment.split(" ");
      if (up.has(containerId)) continue;
      for (const life of lives(ofOne)) {
        await proveLife(life, done.has(containerId), `${plugin.path} ${attachment}`);
        proof.adds++;
        proof.dels += life.length - 1;
        for (const add of life.slice(0, 1)) if (await resultOf(add) === undefined) proof.cutAdds++;
      }
    }
  }
  return proof;
}

/** The calls from each ADD to the next. A DEL before the first one undoes nothing. */
function lives(calls: readonly RecordedCall[]): RecordedCall[][] {
  const found: RecordedCall[][] = [];
  for (const call of calls) {
    if (call.verb === "ADD") found.push([call]);
    else found.at(-1)?.push(call);
  }
  return found;
}

async function proveLife(
  [add, ...dels]: readonly RecordedCall[],
  isDone: boolean,
  what: string,
): Promise<void> {
  if (add === undefined || dels.length === 0) throw new Error(`an ADD without DEL: ${what}`);
  const result = await resultOf(add);
  assert(await resultOf(dels.at(-1)!) !== undefined, `a DEL that was not brought to an end: ${what}`);
  const { prevResult: _before, ...added } = add.config;
  for (const { config: { prevResult, ...deleted }, env } of dels) {
    assertEquals(deleted, added, `another configuration: ${what}`);
    assertEquals(env.CNI_ARGS, add.env.CNI_ARGS, what);
    assert([add.env.CNI_NETNS, "", undefined].includes(env.CNI_NETNS), `${what}: ${env.CNI_NETNS}`);
    if (isDone) assert(prevResult !== undefined, `a DEL that knows no result: ${what}`);
    if (prevResult !== undefined) assertEquals(prevResult, result, what);
  }
}

// deno-lint-ignore no-explicit-any
async function resultOf({ dir, verb }: RecordedCall): Promise<any> {
  try {
    const text = await Deno.readTextFile(`${dir}/result`);
    return verb === "ADD" ? JSON.parse(text) : text;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

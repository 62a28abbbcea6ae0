// An ADD of a built-in plugin that its caller stops.
import { assert } from "@std/assert";
import { builtins } from "../../lib/builtin/mod.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";

/** An attachment that a built-in plugin makes. */
export interface Attachment {
  readonly type: string;
  readonly config: JsonObject;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
}

/** A runner of the built-in plugins, and what stops its call after the program with that number. */
function stoppingAt(number: number): { readonly runner: PluginRunner; readonly stop: AbortController } {
  const stop = new AbortController();
  let started = 0;
  const run: RunCommand = async (request) => {
    const outcome = await runCommand(request);
    if (started++ === number) stop.abort(new Error("stopped"));
    return outcome;
  };
  return { stop, runner: new PluginRunner({ pluginDirs: [], builtins, builtinPolicy: "prefer", run }) };
}

/**
 * Repeats an ADD, and stops it after its first program, after its second one, and so on until it succeeds; then DEL. After each
 * stopped one `assertNothingLeft` gets the number of the program.
 */
export async function stopAtEachProgram(
  attachment: Attachment,
  assertNothingLeft: (number: number) => void | Promise<void>,
): Promise<void> {
  const call = { ...attachment, args: [] };
  let stops = 0;
  for (let number = 0;; number++) {
    const { runner, stop } = stoppingAt(number);
    const added = await runner.add({ ...call, verb: "ADD", signal: stop.signal }, "1.1.0").catch(() =>
      undefined
    );
    if (added !== undefined) {
      assert(stops >= 2, `${stops} stops`);
      await runner.call({ ...call, verb: "DEL", signal: AbortSignal.timeout(60_000) });
      if (!stop.signal.aborted) return;
    } else {
      stops++;
      await assertNothingLeft(number);
    }
  }
}

/** Stops an ADD after its first program, after its second one, and so on until it succeeds; a DEL does not undo all of it. */
export async function stopUntilAdded(
  attachment: Attachment,
  assertNothingLeft: (number: number) => Promise<void>,
): Promise<void> {
  for (let number = 0;; number++) {
    const { runner, stop } = stoppingAt(number);
    const call = { ...attachment, args: [], verb: "ADD", signal: stop.signal } as const;
    const added = await runner.add(call, "1.1.0").catch(() => undefined);
    if (added === undefined) {
      await assertNothingLeft(number);
      continue;
    }
    assert(number >= 3, `${number} programs`);
    await runner.call({ ...call, verb: "DEL", signal: AbortSignal.timeout(60_000) });
    return;
  }
}

import type { Sandbox } from "./view.ts";

/** A sandbox that the caller has run: `await using` removes it at the end of the block. */
export type DisposableSandbox = Sandbox & AsyncDisposable;

/** Adds the removal to a sandbox, as a member that is not enumerable: printing and comparing the sandbox do not change. */
export function withRemoval(sandbox: Sandbox, remove: (id: string) => Promise<unknown>): DisposableSandbox {
  const { id } = sandbox;
  // Others may be shown the same object.
  return Object.defineProperty({ ...sandbox }, Symbol.asyncDispose, {
    value: async () => void await remove(id),
  }) as DisposableSandbox;
}

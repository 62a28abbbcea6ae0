/** The differences between the versions of Deno that podwire runs on. */
export interface DenoRules {
  /** `--allow-read` is enough to inspect files below `/proc` and `/sys`; else podwire runs programs for that, with `sh`. */
  readonly kernelFilesByRead: boolean;
  /** A Unix socket requires `--allow-net=unix:PATH` in addition to `--allow-read` and `--allow-write`. */
  readonly socketsByNet: boolean;
  /** Two commas in a flag stand for a comma inside a value; else a value with a comma cannot be written. */
  readonly commasDoubled: boolean;
  /** `sh` runs a file that the kernel refuses to run, as a script; else only if it is started detached. */
  readonly programsByShell: boolean;
  /** Opening a dangling symbolic link finds no file; else it fails as a loop of links does. */
  readonly linksAreFollowed: boolean;
  /** A directory has no events any more once its last watcher is closed; else they go on until the process ends. */
  readonly watchesEnd: boolean;
}

let own: DenoRules | undefined;

/** Returns the rules of a version of Deno. Requires no permission. */
export function denoRules(version?: string): DenoRules {
  return version === undefined ? own ??= rulesOf(Deno.version.deno) : rulesOf(version);
}

function rulesOf(version: string): DenoRules {
  return {
    kernelFilesByRead: !isSince(version, [2, 8, 3]),
    socketsByNet: isSince(version, [2, 9, 0]),
    commasDoubled: !isSince(version, [2, 9, 6]),
    programsByShell: isSince(version, [2, 8, 3]),
    linksAreFollowed: isSince(version, [2, 8, 0]),
    watchesEnd: isSince(version, [2, 9, 0]),
  };
}

/** Whether a version of Deno is not older than `since`. Requires no permission. */
export function isSince(version: string, since: readonly number[]): boolean {
  const numbers = version.split(/[.+-]/, 3).map(Number);
  const index = since.findIndex((number, i) => number !== numbers[i]);
  return index < 0 || (numbers[index] ?? 0) > (since[index] ?? 0);
}

/** Whether a path is below `/proc` or `/sys`, which Deno treats differently. Requires no permission. */
export function isKernelFile(path: string): boolean {
  return /^\/+(?:proc|sys)(?:\/|$)/.test(path);
}

/** In what the versions of Deno that podwire runs on differ. */
export interface DenoRules {
  /** What is below `/proc` and `/sys` may be looked at with `--allow-read`; else podwire asks programs, by `sh`. */
  readonly kernelFilesByRead: boolean;
  /** A Unix socket takes `--allow-net=unix:PATH`, beside `--allow-read` and `--allow-write`. */
  readonly socketsByNet: boolean;
  /** Two commas in a flag are one that separates no values; else a value with a comma cannot be written. */
  readonly commasDoubled: boolean;
  /** What the kernel refuses to run as a program is run by `sh`, as a script; else only where it is started detached. */
  readonly programsByShell: boolean;
  /** Opening a symbolic link that leads nowhere finds no file; else it fails as a loop of links does. */
  readonly linksAreFollowed: boolean;
}

/** The rules of a version of Deno. Requires no permission. */
export function denoRules(version: string = Deno.version.deno): DenoRules {
  return {
    kernelFilesByRead: !isSince(version, [2, 8, 3]),
    socketsByNet: isSince(version, [2, 9, 0]),
    commasDoubled: !isSince(version, [2, 9, 6]),
    programsByShell: isSince(version, [2, 8, 3]),
    linksAreFollowed: isSince(version, [2, 8, 0]),
  };
}

function isSince(version: string, since: readonly number[]): boolean {
  const numbers = version.split(/[.+-]/, 3).map(Number);
  const index = since.findIndex((number, i) => number !== numbers[i]);
  return index < 0 || (numbers[index] ?? 0) > (since[index] ?? 0);
}

/** Whether a path is below `/proc` or `/sys`, which Deno treats apart. Requires no permission. */
export function isKernelFile(path: string): boolean {
  return /^\/+(?:proc|sys)(?:\/|$)/.test(path);
}

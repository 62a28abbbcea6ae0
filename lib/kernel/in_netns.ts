import { errnoWords } from "../host/errno.ts";
import { leaveHome } from "../host/home.ts";
import type { Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";

const OWN = "/proc/thread-self/ns/net";
/** That of an error inside of the program, as in sysexits.h. */
const EXIT_CODE = 70;
const homes = new WeakMap<Libc, number>();

/**
 * Runs `fn` in another network namespace, and returns to that of this process before anything else runs on this thread.
 * `enter` returns a number below zero if it cannot; then `fn` does not run, and the error of `refused` is thrown.
 *
 * If the way back is barred, the process ends at once: each further step would hit the wrong network.
 */
export function inNetns<T>(
  libc: Libc,
  enter: () => number,
  fn: () => T,
  refused: (errno: number) => Error,
): T {
  const home = openHome(libc);
  return leaveHome(() => {
    if (enter() < 0) throw refused(libc.errno());
    try {
      return fn();
    } finally {
      if (libc.setns(home, LIBC.CLONE_NEWNET) < 0) endProcess(libc.errno());
    }
  });
}

/** Opens the namespace of this thread, once, while it is there; it stays open. Returns its descriptor. */
export function openHome(libc: Libc): number {
  const known = homes.get(libc);
  if (known !== undefined) return known;
  const fd = libc.open(OWN, LIBC.O_RDONLY | LIBC.O_CLOEXEC);
  if (fd < 0) throw new Error(`Cannot open the own network namespace: ${errnoWords(libc.errno())}`);
  homes.set(libc, fd);
  return fd;
}

function endProcess(errno: number): never {
  try {
    const why = `Cannot return to the own network namespace: ${errnoWords(errno)}; the process ends\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(why));
  } finally {
    Deno.exit(EXIT_CODE);
  }
}

import { errnoWords } from "../host/errno.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { Bytes, Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";

/** More than any number of one digit needs. */
const VALUE_BYTES = 64;

/**
 * Sets kernel parameters in the namespace where the calling thread is. A parameter that has its value already is not
 * written: /proc/sys may be read-only. Returns why a required one is not set, as a sentence without a full stop.
 */
export function setSysctls(libc: Libc, sysctls: readonly Sysctl[]): string | undefined {
  for (const { name, value, required = false } of sysctls) {
    const path = `/proc/sys/${name}`;
    if (readValue(libc, path) === value) continue;
    const errno = writeValue(libc, path, value);
    if (!required) continue;
    const what = `the kernel parameter ${JSON.stringify(name)}`;
    if (errno !== 0) return `${what} cannot be set: ${errnoWords(errno)}`;
    const now = readValue(libc, path);
    if (now !== value) return `${what} stays ${JSON.stringify(now ?? "")}`;
  }
  return undefined;
}

/** The first line of a file; undefined if it cannot be read. */
function readValue(libc: Libc, path: string): string | undefined {
  const fd = libc.open(path, LIBC.O_RDONLY | LIBC.O_CLOEXEC);
  if (fd < 0) return undefined;
  try {
    const bytes: Bytes = new Uint8Array(VALUE_BYTES);
    const length = libc.read(fd, bytes);
    return length < 0 ? undefined : new TextDecoder().decode(bytes.subarray(0, length)).split("\n")[0];
  } finally {
    libc.close(fd);
  }
}

/** Returns the number of the error; 0 if there was none. */
function writeValue(libc: Libc, path: string, value: string): number {
  const fd = libc.open(path, LIBC.O_WRONLY | LIBC.O_CLOEXEC);
  if (fd < 0) return libc.errno();
  try {
    return libc.write(fd, new TextEncoder().encode(`${value}\n`)) < 0 ? libc.errno() : 0;
  } finally {
    libc.close(fd);
  }
}

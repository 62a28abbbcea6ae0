/** So many digests take as long as loading what makes them faster. */
const FEW = 64;

type CreateHash = typeof import("node:crypto").createHash;

let made = 0;
let createHash: CreateHash | undefined;

/**
 * Returns the SHA-256 of a text in hexadecimal.
 *
 * The function of the web platform needs a thread for each, 50 µs instead of 3. Node's takes 10 ms to load, which a command
 * that reads a few records must not spend. Requires no permission.
 */
export async function sha256(text: string): Promise<string> {
  return await digest("SHA-256", text);
}

/** As {@linkcode sha256}, for SHA-512. */
export async function sha512(text: string): Promise<string> {
  return await digest("SHA-512", text);
}

const OF_NODE = { "SHA-256": "sha256", "SHA-512": "sha512" } as const;

async function digest(name: keyof typeof OF_NODE, text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  if (++made <= FEW) return new Uint8Array(await crypto.subtle.digest(name, bytes)).toHex();
  createHash ??= (await import("node:crypto")).createHash;
  return createHash(OF_NODE[name]).update(bytes).digest("hex");
}

/**
 * Same as {@linkcode sha256} in the same turn of the event loop, once there were so many that it is worth it; undefined
 * before. Requires no permission.
 */
export function sha256Now(text: string): string | undefined {
  return createHash?.("sha256").update(text).digest("hex");
}

/**
 * Whether a program has made the file: neither its size nor its words are anyone's choice. `fmt` and `lint` in deno.json leave
 * out the same folders.
 */
export function isGenerated(path: string): boolean {
  return /^lib\/(cri|nri)\/generated\//.test(path);
}

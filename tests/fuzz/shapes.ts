import type { DocumentKind } from "./target.ts";

/** A document that can be made of any size. */
export interface Shape {
  readonly name: string;
  readonly kind: DocumentKind;
  /** Makes a document of about `size` characters. */
  make(size: number): string;
}

/** Returns as many copies as fit, with their index in place of `#`. */
function many(part: string, size: number, separator = ","): string {
  const count = Math.max(1, Math.floor(size / (part.length + separator.length + 4)));
  return Array.from({ length: count }, (_, index) => part.replaceAll("#", String(index))).join(separator);
}

const list = (plugin: string) => `{"name":"web","cniVersion":"1.1.0","plugins":[${plugin}]}`;
const extra = (value: string) => list(`{"type":"a","x":${value}}`);
const result = (members: string, version = "1.1.0") => `{"cniVersion":"${version}",${members}}`;

const config = (name: string, make: (size: number) => string): Shape => ({ name, kind: "config", make });
const answer = (name: string, make: (size: number) => string): Shape => ({ name, kind: "result", make });
const refusal = (name: string, make: (size: number) => string): Shape => ({ name, kind: "error", make });

/** Documents for which a careless reader needs quadratic time: each is large in one respect, valid or broken at the end. */
export const SHAPES: readonly Shape[] = [
  config("one long string", (size) => extra(`"${"a".repeat(size)}"`)),
  config("a string that does not end", (size) => `{"name":"${"a".repeat(size)}`),
  config("escapes", (size) => extra(`"${many("\\n\\u0041\\\\", size, "")}"`)),
  config("escapes up to a bad one", (size) => extra(`"${"\\n".repeat(size / 2)}\\x"`)),
  config("characters of two units", (size) => `${extra(`"${"😀".repeat(size / 2)}"`)}x`),
  config("numbers", (size) => extra(`[${many("#", size)}]`)),
  config("numbers that keep their text", (size) => extra(`[${many("#.0", size)}]`)),
  config("one long number", (size) => extra("1".repeat(size))),
  config("one long fraction", (size) => extra(`0.${"1".repeat(size)}e-1`)),
  config("a long word that is not a number", (size) => extra(`${"1".repeat(size)}x`)),
  config("keys", (size) => extra(`{${many('"key#":1', size)}}`)),
  config("keys that are numbers", (size) => extra(`{${many('"#":1', size)}}`)),
  config("keys that are large numbers", (size) => extra(`{${many('"4294#":1', size)}}`)),
  config("the same key", (size) => extra(`{${many('"a":1', size)}}`)),
  config("the same key in objects", (size) => extra(`[${many('{"a":1,"b":2}', size)}]`)),
  config("one long key, broken behind it", (size) => `{"${"k".repeat(size)}":}`),
  config("__proto__ in objects", (size) => extra(`[${many('{"__proto__":{"a":1}}', size)}]`)),
  config("objects in objects, and no end", (size) => '{"a":'.repeat(size / 5)),
  config("arrays in arrays, and no end", (size) => "[".repeat(size)),
  config("as deep as allowed, often", (size) => extra(`[${many("[".repeat(500) + "]".repeat(500), size)}]`)),
  config("as deep as allowed, long keys", (size) => `${`{"${"k".repeat(size / 500)}":`.repeat(500)}x`),
  config("blanks", (size) => `${" ".repeat(size)}${list('{"type":"a"}')}`),
  config("blanks inside, then an error", (size) => `{"name":"web",${" ".repeat(size)}}`),
  config("empty lines, then an error", (size) => `${"\n".repeat(size)}{"name":1}`),
  config("carriage returns, then an error", (size) => `${"\r\n\r".repeat(size / 3)}{"name":1}`),
  config("plugins", (size) => list(many('{"type":"p#"}', size))),
  config("plugins, the last one bad", (size) => list(`${many('{"type":"p#"}', size)},{"type":1}`)),
  config("plugins with reserved keys", (size) => list(many('{"type":"p","prevResult":{}}', size))),
  config("reserved keys", (size) => list(`{"type":"a",${many('"cni.dev/#":1', size)}}`)),
  config("capabilities", (size) => list(`{"type":"a","capabilities":{${many('"c#":true', size)}}}`)),
  config(
    "capabilities, the last one bad",
    (size) => list(`{"type":"a","capabilities":{${many('"c#":true', size)},"x":1}}`),
  ),
  config(
    "versions",
    (size) => `{"name":"web","cniVersions":[${many('"0.4.0"', size)}],"plugins":[{"type":"a"}]}`,
  ),
  config("unknown versions", (size) => `{"name":"web","cniVersions":[${many('"9.#"', size)}]}`),
  config("a long version", (size) => `{"name":"web","cniVersion":"1.${"0".repeat(size)}"}`),
  config("a version of many parts", (size) => `{"name":"web","cniVersion":"${"1.".repeat(size / 2)}"}`),
  config("a long name", (size) => `{"name":"${"a".repeat(size)}","plugins":[{"type":"a"}]}`),
  config(
    "a long name that is not valid",
    (size) => `{"name":"${"a".repeat(size)}/","plugins":[{"type":"a"}]}`,
  ),
  config("a long switch", (size) => `{"name":"web","disableGC":"${"true".repeat(size / 4)}"}`),
  config("name servers", (size) => list(`{"type":"a","dns":{"nameservers":[${many('"10.0.0.#"', size)}]}}`)),
  answer("interfaces", (size) => result(`"interfaces":[${many('{"name":"eth#","mtu":1500}', size)}]`)),
  answer(
    "addresses",
    (size) =>
      result(`"interfaces":[{"name":"a"}],"ips":[${many('{"interface":0,"address":"10.0.0.1/24"}', size)}]`),
  ),
  answer(
    "addresses of 0.4.0",
    (size) => result(`"ips":[${many('{"version":"6","address":"fd00::1/64"}', size)}]`, "0.4.0"),
  ),
  answer(
    "addresses, the last one bad",
    (size) => result(`"ips":[${many('{"address":"::1/64"}', size)},{"address":"x"}]`),
  ),
  answer(
    "routes",
    (size) => result(`"routes":[${many('{"dst":"10.0.0.0/8","gw":"10.0.0.1","mtu":#}', size)}]`),
  ),
  answer(
    "routes of 0.2.0",
    (size) => result(`"ip4":{"ip":"10.0.0.1/8","routes":[${many('{"dst":"10.0.0.0/8"}', size)}]}`, "0.2.0"),
  ),
  answer("routes, the last one null", (size) => result(`"routes":[${many('{"dst":"::/0"}', size)},null]`)),
  answer("unknown members", (size) => result(many('"x#":{"y":[1.0]}', size))),
  answer(
    "unknown members of an address",
    (size) => result(`"ips":[{"address":"::1/64",${many('"x#":1', size)}}]`),
  ),
  answer("search domains", (size) => result(`"dns":{"search":[${many('"a#"', size)}]}`)),
  answer("an address of colons", (size) => result(`"ips":[{"address":"${":".repeat(size)}/64"}]`)),
  answer("an address of groups", (size) => result(`"ips":[{"address":"${"1:".repeat(size / 2)}:1/64"}]`)),
  answer("an address of dots", (size) => result(`"ips":[{"address":"${"1.".repeat(size / 2)}1/24"}]`)),
  answer("an address of slashes", (size) => result(`"ips":[{"address":"10.0.0.1${"/".repeat(size)}"}]`)),
  answer("a long prefix length", (size) => result(`"ips":[{"address":"10.0.0.1/${"0".repeat(size)}24x"}]`)),
  answer("a long name of an interface", (size) => result(`"interfaces":[{"name":"${"é".repeat(size)}"}]`)),
  answer("noise before the result", (size) => `${"noise\n".repeat(size / 6)}{}`),
  refusal("a long message", (size) => `{"code":7,"msg":"${"m".repeat(size)}"}`),
  refusal("long details", (size) => `{"code":7,"msg":"m","details":"${"d\\n".repeat(size / 3)}"}`),
  refusal("a long code", (size) => `{"code":${"7".repeat(size)},"msg":"m"}`),
  refusal("members of an error", (size) => `{"code":7,"msg":"m",${many('"x#":{"y":1}', size)}}`),
  refusal("a stack trace", (size) => "goroutine 1 [running]:\n".repeat(size / 23)),
];

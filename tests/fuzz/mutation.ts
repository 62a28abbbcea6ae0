import type { Random } from "../cni/random.ts";

/** The tokens of a JSON text, as far as it is valid. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[\]{}[:,]|[^\s\]{}[:,"]+/g;

/** Values that are likely to have a branch of their own. */
const VALUES = [
  "null",
  "true",
  "false",
  "{}",
  "[]",
  "0",
  "-1",
  "-0",
  "1.0",
  "1e400",
  "9007199254740993",
  "99999999999999999999999999",
  '""',
  '"a"',
  '"1.1.0"',
  '"0.2.0"',
  '"1.1"',
  '"10.0.0.1/24"',
  '"::1/64"',
  '"::ffff:1.2.3.4/96"',
  '"010.0.0.1"',
  '"TRUE"',
  '"../x"',
  '"\\u0000"',
  '"\\ud800"',
  '"\u2028"',
  "[null]",
  "[[[[[[]]]]]]",
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{"toString":1,"valueOf":null,"toJSON":"x","length":-1}',
  '{"a":1,"a":2}',
  '{"rawJSON":"1"}',
];

const KEYS = [
  "__proto__",
  "constructor",
  "prototype",
  "hasOwnProperty",
  "toJSON",
  "0",
  "",
  "type",
  "name",
  "cniVersion",
  "cniVersions",
  "plugins",
  "capabilities",
  "prevResult",
  "runtimeConfig",
  "cni.dev/x",
  "ipam",
  "dns",
  "interfaces",
  "interface",
  "ips",
  "address",
  "gateway",
  "routes",
  "dst",
  "ip4",
  "ip",
  "version",
  "code",
  "msg",
].map((key) => JSON.stringify(key));

const NOISE = [
  "",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "\\u00",
  "/",
  "\ufeff",
  "\u00a0",
  "\0",
  "\n",
  "e",
  "-",
  "😀",
];

type Mutation = (text: string, random: Random, other: string) => string;

const MUTATIONS: readonly Mutation[] = [
  // A value or bracket becomes another value.
  (text, random) => replaceToken(text, random, () => random.one(VALUES)),
  (text, random) => replaceToken(text, random, (token) => token.startsWith('"') ? random.one(KEYS) : token),
  (text, random, other) => replaceToken(text, random, () => random.one(other.match(TOKEN) ?? ["1"])),
  // A member is added in front, with a key that the object may already have.
  (text, random) =>
    replaceToken(
      text,
      random,
      (token) => token === "{" ? `{${random.one(KEYS)}:${random.one(VALUES)},` : token,
    ),
  (text, random) => replaceToken(text, random, (token) => token === "[" ? `[${random.one(VALUES)},` : token),
  // A part is removed, repeated, or copied from another document.
  (text, random) => {
    const [from, to] = span(text, random);
    return text.slice(0, from) + text.slice(to);
  },
  (text, random) => {
    const [from, to] = span(text, random);
    return text.slice(0, to) + text.slice(from);
  },
  (text, random, other) => {
    const [from, to] = span(other, random);
    const at = random.below(text.length + 1);
    return text.slice(0, at) + other.slice(from, to) + text.slice(at);
  },
  // One character.
  (text, random) => {
    const at = random.below(text.length + 1);
    return text.slice(0, at) + random.one(NOISE) + text.slice(at + random.below(2));
  },
  (text, random) => {
    const at = random.below(text.length + 1);
    return text.slice(0, at) + String.fromCharCode(random.below(0x10000)) + text.slice(at);
  },
  // Nesting around the whole document or around a value, deep or shallow.
  (text, random) => {
    const depth = random.one([1, 2, 100, 509, 510, 511, 512, 513, 1024, 3000]);
    const wrap = random.chance(50)
      ? (value: string) => "[".repeat(depth) + value + "]".repeat(depth)
      : (value: string) => '{"a":'.repeat(depth) + value + "}".repeat(depth);
    return random.chance(10)
      ? wrap(text)
      : replaceToken(text, random, (token) => /^[\d"ntf]/.test(token) ? wrap(token) : token);
  },
];

/** Returns a changed copy of the first document, with parts of the second. */
export function mutate(text: string, other: string, random: Random): string {
  let mutated = text;
  for (let times = 1 + random.below(4); times > 0; times--) {
    mutated = random.one(MUTATIONS)(mutated, random, other);
  }
  return mutated;
}

function replaceToken(text: string, random: Random, replace: (token: string) => string): string {
  const tokens = [...text.matchAll(TOKEN)];
  if (tokens.length === 0) return text;
  const { 0: token, index } = random.one(tokens);
  return text.slice(0, index) + replace(token) + text.slice(index + token.length);
}

function span(text: string, random: Random): [from: number, to: number] {
  const from = random.below(text.length + 1);
  return [from, Math.min(text.length, from + random.below(random.one([4, 40, 400])))];
}

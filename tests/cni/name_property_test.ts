import { assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../../lib/cni/name.ts";
import { compareVersions, parseVersion } from "../../lib/cni/version.ts";
import { property, type Random } from "./random.ts";

const LETTERS = [..."aZ09_.-", "é", "😀", "\ud800"];
const OTHERS = [
  ..."/:%; \t\n\v\f\r\0\u0085\u00a0\u1680\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff",
];

/** A name that mostly has allowed characters, and sometimes another one. */
function randomName(random: Random): string {
  const ordinary = random.one([LETTERS.slice(0, 7), LETTERS]);
  return random.list(20, () => random.one(random.chance(3) ? OTHERS : ordinary)).join("");
}

function passes(validate: (text: string) => void, text: string): boolean {
  try {
    validate(text);
    return true;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return false;
  }
}

const isAlphanumeric = (char: string) =>
  char >= "a" && char <= "z" || char >= "A" && char <= "Z" || char >= "0" && char <= "9";

property("E40 E41 E47 container IDs and network names follow the rule of the specification", (random) => {
  const name = randomName(random).repeat(random.one([1, 1, 1, 50]));
  const chars = [...name];
  const expected = chars.length > 0 && isAlphanumeric(chars[0]!) &&
    chars.every((char) => isAlphanumeric(char) || char === "_" || char === "." || char === "-");
  assertEquals(passes(validateContainerId, name), expected, JSON.stringify(name));
  assertEquals(passes(validateNetworkName, name), expected, JSON.stringify(name));
});

/** The white space of Unicode, as Go's `unicode.IsSpace` has it. */
const SPACE = /[\p{White_Space}]/u;

property("E42 E43 E44 E45 E46 interface names follow the rule of the kernel", (random) => {
  const name = random.chance(5) ? random.one(["", ".", "..", "..."]) : randomName(random);
  const expected = name !== "" && new Blob([name]).size <= 15 && name !== "." && name !== ".." &&
    ![...name].some((char) => "/:%\0".includes(char) || SPACE.test(char));
  assertEquals(passes(validateInterfaceName, name), expected, JSON.stringify(name));
});

property("A40 A41 versions are ordered by their three numbers", (random) => {
  const [a, b] = [0, 1].map(() => Array.from({ length: 3 }, () => random.below(random.one([2, 12, 1000]))));
  const expected = a!.map((part, index) => Math.sign(part - b![index]!)).find((sign) => sign !== 0) ?? 0;
  assertEquals(compareVersions(a!.join("."), b!.join(".")), expected);
  assertEquals(compareVersions(b!.join("."), a!.join(".")), expected === 0 ? 0 : -expected);
  assertEquals([...parseVersion(a!.join("."))], a);
});

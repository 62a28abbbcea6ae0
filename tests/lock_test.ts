// Most work on this project happens where JSR is not reachable, so Deno itself rarely compares deno.lock with
// deno.json. This test does: the two agree, nothing is unpinned, nothing is left over.
import { assertEquals } from "@std/assert";

interface Lock {
  version: string;
  specifiers: Record<string, string>;
  jsr: Record<string, { integrity: string; dependencies?: string[] }>;
  npm: Record<string, { integrity: string; dependencies?: string[] }>;
  workspace: { dependencies: string[] };
}

/** Deno writes `^0.224.14` as `~0.224.14`, which means the same below version 1. */
function asLocked(specifier: string): string {
  return specifier.replace(/@\^0\./, "@~0.");
}

/** The problems of the lock, as sentences; none if it pins exactly what `imports` reaches. */
function lockProblems(imports: Record<string, string>, lock: Lock): string[] {
  const problems: string[] = [];
  if (lock.version !== "5") problems.push(`the lock has version ${lock.version}, not 5`);

  const wanted = Object.values(imports).map(asLocked).sort();
  const recorded = JSON.stringify(lock.workspace.dependencies);
  if (recorded !== JSON.stringify(wanted)) problems.push(`the workspace lists ${recorded}`);

  const usedSpecifiers = new Set<string>();
  const usedPackages = new Set<string>();
  const visit = (wanted: string, from: string): void => {
    const specifier = fullSpecifier(wanted, lock);
    const version = lock.specifiers[specifier];
    if (version === undefined) {
      problems.push(`"${wanted}" of ${from} is not resolved`);
      return;
    }
    usedSpecifiers.add(specifier);
    if (specifier.startsWith("npm:")) return visitNpm(specifier.slice("npm:".length), version);
    if (!satisfies(version, specifier)) problems.push(`${version} does not satisfy "${specifier}"`);
    const id = `${specifier.slice("jsr:".length, specifier.lastIndexOf("@"))}@${version}`;
    if (usedPackages.has(id)) return;
    usedPackages.add(id);
    const entry = lock.jsr[id];
    if (entry === undefined) {
      problems.push(`${id} has no entry`);
      return;
    }
    if (!/^[0-9a-f]{64}$/.test(entry.integrity)) problems.push(`${id} has no SHA-256`);
    for (const dependency of entry.dependencies ?? []) visit(dependency, id);
  };
  // A package of npm is imported in one version alone, and what it needs beside itself is one of the others.
  const visitNpm = (wanted: string, version: string): void => {
    const [exact = "", peer] = version.split("_");
    const name = wanted.slice(0, wanted.lastIndexOf("@"));
    if (wanted !== `${name}@${exact}`) problems.push(`"npm:${wanted}" is not pinned to ${exact}`);
    const id = `${name}@${version}`;
    usedPackages.add(id);
    const entry = lock.npm[id];
    if (entry === undefined) return void problems.push(`${id} has no entry`);
    if (!/^sha512-[\w+/]{86}==$/.test(entry.integrity)) problems.push(`${id} has no SHA-512`);
    const needs = (entry.dependencies ?? []).map((own) => `${own}@`);
    const peers = peer === undefined ? [] : [peer.replace("+", "/")];
    const isKnown = needs.every((own) => peers.some((other) => other.startsWith(own)));
    if (!isKnown || !peers.every((own) => lock.npm[own] !== undefined)) {
      problems.push(`${id} needs what the lock does not pin`);
    }
  };
  for (const specifier of wanted) visit(specifier, "deno.json");

  for (const specifier of Object.keys(lock.specifiers)) {
    if (!usedSpecifiers.has(specifier)) problems.push(`"${specifier}" is not used`);
  }
  for (const id of Object.keys({ ...lock.jsr, ...lock.npm })) {
    if (!usedPackages.has(id)) problems.push(`${id} is not used`);
  }
  return problems;
}

/** A dependency is written without its range if the lock knows only one range of that package. */
function fullSpecifier(wanted: string, lock: Lock): string {
  if (wanted.lastIndexOf("@") > "jsr:@".length) return wanted;
  const ranges = Object.keys(lock.specifiers).filter((specifier) => specifier.startsWith(`${wanted}@`));
  return ranges.length === 1 && ranges[0] !== undefined ? ranges[0] : wanted;
}

/** Enough of semver for `^1.2.3` and `~0.224.14`; any other form does not satisfy. */
function satisfies(version: string, specifier: string): boolean {
  const range = /@([\^~])(\d+)\.(\d+)\.(\d+)$/.exec(specifier);
  const parts = /^(\d+)\.(\d+)\.(\d+)$/.exec(version);
  if (range === null || parts === null) return false;
  const [, sign, ...least] = range;
  const [major, minor, patch] = parts.slice(1).map(Number) as [number, number, number];
  const [leastMajor, leastMinor, leastPatch] = least.map(Number) as [number, number, number];
  if (major !== leastMajor) return false;
  if (sign === "^") return minor > leastMinor || (minor === leastMinor && patch >= leastPatch);
  return minor === leastMinor && patch >= leastPatch;
}

const root = new URL("../", import.meta.url);
const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
const lockText = await Deno.readTextFile(new URL("deno.lock", root));

function problemsAfter(change: (lock: Lock) => void): string[] {
  const lock = JSON.parse(lockText) as Lock;
  change(lock);
  return lockProblems(config.imports, lock);
}

Deno.test("deno.lock pins exactly what deno.json imports", () => {
  assertEquals(problemsAfter(() => {}), []);
});

Deno.test("deno.lock is written as Deno writes it: sorted, two blanks", () => {
  const lock = JSON.parse(lockText) as Lock;
  assertEquals(lockText, JSON.stringify(lock, null, 2) + "\n");
  assertEquals(Object.keys(lock.specifiers), Object.keys(lock.specifiers).sort());
  assertEquals(Object.keys(lock.jsr), Object.keys(lock.jsr).sort());
  assertEquals(Object.keys(lock.npm), Object.keys(lock.npm).sort());
});

Deno.test("a broken lock is noticed", async (t) => {
  const cases: Record<string, [change: (lock: Lock) => void, problem: string]> = {
    "a missing package": [(lock) => delete lock.jsr["@std/bytes@1.0.6"], "@std/bytes@1.0.6 has no entry"],
    "a shortened checksum": [
      (lock) => lock.jsr["@std/path@1.1.6"]!.integrity = "c68485c2",
      "@std/path@1.1.6 has no SHA-256",
    ],
    "an unresolved import": [
      (lock) => delete lock.specifiers["jsr:@std/fs@^1.0.24"],
      `"jsr:@std/fs@^1.0.24" of deno.json is not resolved`,
    ],
    "an unresolved dependency": [
      (lock) => delete lock.specifiers["jsr:@std/io@~0.225.2"],
      `"jsr:@std/io" of @std/log@0.224.14 is not resolved`,
    ],
    "a version below its range": [
      (lock) => lock.specifiers["jsr:@std/path@^1.1.6"] = "1.1.4",
      `1.1.4 does not satisfy "jsr:@std/path@^1.1.6"`,
    ],
    "a package that nothing needs": [
      (lock) => lock.jsr["@std/yaml@1.0.0"] = { integrity: "0".repeat(64) },
      "@std/yaml@1.0.0 is not used",
    ],
    "a specifier that nothing needs": [
      (lock) => lock.specifiers["jsr:@std/yaml@^1.0.0"] = "1.0.0",
      `"jsr:@std/yaml@^1.0.0" is not used`,
    ],
    "a package of npm that is missing": [
      (lock) => delete lock.npm["@bufbuild/protobuf@2.17.0"],
      "@bufbuild/protobuf@2.17.0 has no entry",
    ],
    "a peer that is missing": [
      (lock) => delete lock.npm["@bufbuild/protobuf@2.17.0"],
      "@connectrpc/connect@2.3.0_@bufbuild+protobuf@2.17.0 needs what the lock does not pin",
    ],
    "a shortened checksum of npm": [
      (lock) => lock.npm["@bufbuild/protobuf@2.17.0"]!.integrity = "sha512-AAAA",
      "@bufbuild/protobuf@2.17.0 has no SHA-512",
    ],
    "a package of npm that nothing needs": [
      (lock) => lock.npm["left-pad@1.3.0"] = { integrity: `sha512-${"A".repeat(86)}==` },
      "left-pad@1.3.0 is not used",
    ],
    "another format": [(lock) => lock.version = "4", "the lock has version 4, not 5"],
  };
  for (const [name, [change, problem]] of Object.entries(cases)) {
    await t.step(name, () => assertEquals(problemsAfter(change).includes(problem), true, problem));
  }
});

Deno.test("a range of versions of a package of npm is noticed", () => {
  const lock = JSON.parse(lockText) as Lock;
  const range = "npm:@bufbuild/protobuf@^2.0.0";
  lock.specifiers[range] = "2.17.0";
  const problems = lockProblems({ ...config.imports, "@bufbuild/protobuf": range }, lock);
  assertEquals(problems.includes(`"${range}" is not pinned to 2.17.0`), true);
});

Deno.test("an import that the lock does not know is noticed", () => {
  const imports = { ...config.imports, "@std/yaml": "jsr:@std/yaml@^1.0.5" };
  const problems = lockProblems(imports, JSON.parse(lockText));
  assertEquals(problems.includes(`"jsr:@std/yaml@^1.0.5" of deno.json is not resolved`), true);
});

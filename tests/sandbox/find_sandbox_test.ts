import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { findSandbox } from "../../lib/sandbox/find_sandbox.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { recordFile, storesIn } from "../stores.ts";

const record = (id: string, name: string, namespace = "default"): SandboxRecord => ({
  id,
  name,
  namespace,
  uid: id,
  phase: "ready",
  createdAt: "2026-01-01T00:00:00.000Z",
  bootId: "b1",
  netns: { path: `/run/netns/podwire-${id}`, owned: true, id: undefined },
  pid: undefined,
  infra: undefined,
  annotations: {},
});

/** Runs `fn` with a store that has these sandboxes, each with its name. */
async function inStore(
  records: readonly SandboxRecord[],
  fn: (find: (text: string, namespace?: string) => Promise<string>, dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-find-" });
  try {
    const store = storesIn(dir).sandboxes;
    for (const record of records) {
      await store.write(record);
      await store.reserve(record);
    }
    const find = async (text: string, namespace?: string) =>
      (await findSandbox(store, text, namespace === undefined ? {} : { namespace })).id;
    await fn(find, dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const missing = async (act: () => Promise<unknown>) =>
  assertEquals((await assertRejects(act, CniError)).kind, "not-found");

Deno.test("a sandbox is found by name in its namespace, by ID, and by the prefix of an ID", () =>
  inStore([record("abcd1234", "web"), record("abce5678", "web", "prod")], async (find) => {
    assertEquals(await find("web"), "abcd1234");
    assertEquals(await find("web", "prod"), "abce5678");
    assertEquals(await find("abcd1234"), "abcd1234");
    assertEquals(await find("abcd"), "abcd1234");
    assertEquals(await find("abce"), "abce5678");
    await missing(() => find("web", "test"));
    await missing(() => find("web2"));
  }));

Deno.test("a prefix that matches several IDs is refused and lists them; a prefix of three characters finds nothing", () =>
  inStore([record("abcd1234", "a"), record("abcd5678", "b")], async (find) => {
    const error = await assertRejects(() => find("abcd"), CniError);
    assertEquals(error.kind, "usage");
    assertStringIncludes(error.msg, "abcd1234, abcd5678");
    assertEquals(await find("abcd1"), "abcd1234");
    await missing(() => find("abc"));
  }));

Deno.test("a name takes precedence over an ID, and a full ID over a longer ID with that prefix", () =>
  inStore([record("aaaa", "x"), record("aaaabbbb", "y"), record("cccc", "aaaabbbb")], async (find) => {
    assertEquals(await find("aaaa"), "aaaa");
    assertEquals(await find("aaaabbbb"), "cccc");
  }));

Deno.test("a name whose sandbox has no record finds nothing", () =>
  inStore([record("abcd1234", "web")], async (find, dir) => {
    await Deno.remove(recordFile(dir, "abcd1234"));
    await missing(() => find("web"));
  }));

Deno.test("a name or namespace that leads out of the directory is not looked up", () =>
  inStore([record("abcd1234", "web")], async (find, dir) => {
    await Deno.writeTextFile(`${dir}/secret`, "abcd1234");
    for (const text of ["../../secret", "..", "", ".", "a/b", "web\n"]) await missing(() => find(text));
    await missing(() => find("secret", "../.."));
    await missing(() => find("secret", "x/../.."));
  }));

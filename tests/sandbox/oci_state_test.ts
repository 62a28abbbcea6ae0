import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeOciState, LONGEST_STATE } from "../../lib/sandbox/oci_state.ts";
import { CniError } from "../../lib/cni/error.ts";

const STATE = {
  ociVersion: "1.0.2",
  id: "c1",
  status: "creating",
  pid: 4711,
  bundle: "/run/bundles/c1",
  annotations: { "podwire.networks": "web", other: "" },
};

function decode(overrides: Record<string, unknown> = {}) {
  return decodeOciState(JSON.stringify({ ...STATE, ...overrides }));
}

Deno.test("the state of a container is read as runc and crun write it", () => {
  const { ociVersion: _, ...rest } = STATE;
  assertEquals(decode(), { ...rest, status: "creating" });
  assertEquals(decode({ owner: "", root: "/x", created: "2026", future: [1] }), {
    ...rest,
    status: "creating",
  });
  assertEquals(decode({ ociVersion: "1.2.0+dev", status: "stopped" }).status, "stopped");
  for (const none of [0, null, undefined]) {
    assertEquals(decode({ status: "stopped", pid: none }).pid, undefined);
  }
  for (const none of [null, undefined, {}]) assertEquals(decode({ annotations: none }).annotations, {});
});

Deno.test("what is needed and missing or wrong is named", () => {
  for (
    const [overrides, words] of [
      [{ ociVersion: undefined }, '"ociVersion" is missing'],
      [{ ociVersion: "2.0.0" }, '"ociVersion" is 2.0.0'],
      [{ ociVersion: 1 }, '"ociVersion" is no text'],
      [{ id: "" }, '"id" is no text'],
      [{ id: undefined }, '"id" is missing'],
      [{ status: "paused" }, '"status" is "paused"'],
      [{ status: undefined }, '"status" is missing'],
      [{ pid: -1 }, '"pid" is no process ID'],
      [{ pid: 1.5 }, '"pid" is no process ID'],
      [{ pid: 2 ** 22 + 1 }, '"pid" is no process ID'],
      [{ pid: "1" }, '"pid" is no process ID'],
      [{ bundle: "x" }, '"bundle" is no absolute path'],
      [{ bundle: undefined }, '"bundle" is missing'],
      [{ annotations: ["a"] }, '"annotations" are no object'],
      [{ annotations: { a: 1 } }, 'annotation "a" is no text'],
    ] as const
  ) {
    const error = assertThrows(() => decode(overrides), CniError);
    assertEquals(error.kind, "usage");
    assert(error.msg.includes(words), `${error.msg}, not ${words}`);
  }
});

Deno.test("what is no state at all is told, and how large it may be", () => {
  for (const text of ["", " \n", "[]", "null", "{", '{"id": "a", "id": "b"}', "x"]) {
    assertEquals(assertThrows(() => decodeOciState(text), CniError).kind, "usage", text);
  }
  const padded = (size: number) => JSON.stringify(STATE).padEnd(size);
  assertEquals(decodeOciState(padded(LONGEST_STATE)).id, "c1");
  const error = assertThrows(() => decodeOciState(padded(LONGEST_STATE + 1)), CniError);
  assert(error.msg.includes("more than 1048576 bytes"), error.msg);
});

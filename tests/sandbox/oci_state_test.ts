import { assert, assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { decodeOciState, LONGEST_STATE } from "../../lib/sandbox/oci_state.ts";

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

Deno.test("the container state is read in the formats of runc and crun", () => {
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

Deno.test("an error names the required member that is missing or wrong", () => {
  for (
    const [overrides, words] of [
      [{ ociVersion: undefined }, "ociVersion is missing"],
      [{ ociVersion: "2.0.0" }, 'ociVersion is "2.0.0"'],
      [{ ociVersion: 1 }, "ociVersion must be a string, not a number"],
      [{ id: "" }, "id must not be empty"],
      [{ id: undefined }, "id is missing"],
      [{ status: "paused" }, 'status must be one of creating, created, running, stopped, not "paused"'],
      [{ status: undefined }, "status is missing"],
      [{ pid: -1 }, "pid must be a whole number from 0 to 4194304, not -1"],
      [{ pid: 1.5 }, "pid must be a whole number from 0 to 4194304, not 1.5"],
      [{ pid: 2 ** 22 + 1 }, "pid must be a whole number from 0 to 4194304, not 4194305"],
      [{ pid: "1" }, "pid must be a number, not a string"],
      [{ bundle: "x" }, 'bundle must be an absolute path, not "x"'],
      [{ bundle: undefined }, "bundle is missing"],
      [{ annotations: ["a"] }, "annotations must be an object, not an array"],
      [{ annotations: { a: 1 } }, "annotations.a must be a string, not a number"],
    ] as const
  ) {
    const error = assertThrows(() => decode(overrides), CniError);
    assertEquals(error.kind, "usage");
    assert(error.msg.includes(words), `${error.msg}, not ${words}`);
  }
});

Deno.test("input that is not a state, or is too large, is refused", () => {
  for (const text of ["", " \n", "[]", "null", "{", '{"id": "a", "id": "b"}', "x"]) {
    assertEquals(assertThrows(() => decodeOciState(text), CniError).kind, "usage", text);
  }
  const padded = (size: number) => JSON.stringify(STATE).padEnd(size);
  assertEquals(decodeOciState(padded(LONGEST_STATE)).id, "c1");
  const error = assertThrows(() => decodeOciState(padded(LONGEST_STATE + 1)), CniError);
  assert(error.msg.includes("more than 1048576 bytes"), error.msg);
});

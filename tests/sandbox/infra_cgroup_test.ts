// Where the control group of an infra container is.
import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { infraCgroup, parentProblem } from "../../lib/sandbox/infra_cgroup.ts";

Deno.test("a control group is below its parent, in the words of the one who makes it", () => {
  assertEquals(infraCgroup("x"), { path: "/podwire-x", ociPath: "/podwire-x", isSystemd: false });
  assertEquals(infraCgroup("x", "/kubepods/besteffort/pod1/").path, "/kubepods/besteffort/pod1/podwire-x");
  assertEquals(infraCgroup("x", "/").path, "/podwire-x");
  const inSlice = {
    path: "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/podwire-x.scope",
    ociPath: "kubepods-besteffort-pod1_2.slice:podwire:x",
    isSystemd: true,
  };
  assertEquals(infraCgroup("x", "kubepods-besteffort-pod1_2.slice"), inSlice);
  assertEquals(
    infraCgroup("x", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice"),
    inSlice,
  );
  assertEquals(infraCgroup("x", "-.slice").path, "/podwire-x.scope");
});

Deno.test("a parent that could lead elsewhere is refused", () => {
  for (
    const parent of [
      "kubepods",
      "../x",
      "/a/../b",
      "/a/./b",
      "/a\0b",
      "/a:b",
      "a b.slice",
      "-a.slice",
      ".slice",
    ]
  ) {
    assertThrows(() => infraCgroup("x", parent), CniError, JSON.stringify(parent));
  }
  assertEquals(parentProblem(`/${"a".repeat(255)}`), undefined);
  assertEquals(parentProblem(`/${"a".repeat(256)}`) === undefined, false);
});

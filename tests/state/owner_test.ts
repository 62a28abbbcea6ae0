import { assertEquals } from "@std/assert";
import { formatOwner, type Owner, parseOwner, sandboxOwner } from "../../lib/state/owner.ts";

Deno.test("each owner of an attachment is read from its text and written back unchanged", () => {
  const owners: readonly [string, Owner][] = [
    ["sandbox:web", { kind: "sandbox", id: "web" }],
    ["sandbox:", { kind: "sandbox", id: "" }],
    ["pods:my-engine", { kind: "pods", engine: "my-engine" }],
    ["pods:sandbox:web", { kind: "pods", engine: "sandbox:web" }],
    ["cli", { kind: "manual", name: "cli" }],
    ["pods", { kind: "manual", name: "pods" }],
    ["", { kind: "manual", name: "" }],
  ];
  for (const [text, owner] of owners) {
    assertEquals(parseOwner(text), owner);
    assertEquals(formatOwner(owner), text);
  }
  assertEquals(sandboxOwner("web"), "sandbox:web");
});

import { assertEquals, assertThrows } from "@std/assert";
import { sandboxFilter } from "../../lib/cli/sandbox_filter.ts";
import { CniError } from "../../lib/cni/error.ts";
import { podwire } from "./fake_io.ts";

const read = (text: string) => sandboxFilter("--filter", text);

Deno.test("--filter takes a state, a name, a prefix of an ID, or a label", () => {
  for (const state of ["ready", "stopped", "broken"] as const) {
    assertEquals(read(`state=${state}`), { state });
  }
  assertEquals(read("name=web"), { name: "web" });
  assertEquals(read("id=ab"), { id: "ab" });
  assertEquals(read("label=app"), { labels: { app: undefined } });
  assertEquals(read("label=app=a=b"), { labels: { app: "a=b" } });
  assertEquals(read("label=app="), { labels: { app: "" } });
});

Deno.test("an unknown key or state is refused, with the known ones", async () => {
  const cases = [
    ["app=web", '--filter: "app" is not a key of a filter; the keys are state, name, id, label'],
    ["state=up", '--filter: "up" is not a state; the states are ready, stopped, broken'],
    ["web", '--filter: "web" is not KEY=VALUE'],
    ["label=", '--filter: "label=" does not name a label'],
    ["label==x", '--filter: "=x" is not KEY=VALUE'],
  ] as const;
  for (const [text, msg] of cases) {
    const error = assertThrows(() => read(text), CniError);
    assertEquals({ kind: error.kind, msg: error.msg }, { kind: "usage", msg });
  }
  assertEquals((await podwire(["ps", "--filter", "state=up"])).code, 2);
});

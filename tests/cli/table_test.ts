import { assertEquals } from "@std/assert";
import { table } from "../../lib/cli/table.ts";

Deno.test("table() aligns its columns and leaves no trailing spaces", () => {
  assertEquals(
    table(["ID", "NAME", "IPS"], [["1", "web", "-"], ["1234", "x", ""]]),
    "ID    NAME  IPS\n1     web   -\n1234  x\n",
  );
});

Deno.test("table() without rows has only the headings", () => {
  assertEquals(table(["ID", "NAME"], []), "ID  NAME\n");
});

Deno.test("table() keeps a cell on its line, with any text of a plugin", () => {
  assertEquals(table(["A", "B"], [["one\ntwo", "\x1b[31mred\t"]]), "A         B\none\\ntwo  \\x1b[31mred\n");
});

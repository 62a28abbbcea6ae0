import { assertEquals } from "@std/assert";
import { table } from "../../lib/cli/table.ts";

Deno.test("table() aligns its columns and ends no line with blanks", () => {
  assertEquals(
    table(["ID", "NAME", "IPS"], [["1", "web", "-"], ["1234", "x", ""]]),
    "ID    NAME  IPS\n1     web   -\n1234  x\n",
  );
});

Deno.test("table() without rows is its headings", () => {
  assertEquals(table(["ID", "NAME"], []), "ID  NAME\n");
});

Deno.test("table() keeps a cell on its line, whatever a plugin wrote into it", () => {
  assertEquals(table(["A", "B"], [["one\ntwo", "\x1b[31mred\t"]]), "A         B\none\\ntwo  \\x1b[31mred\n");
});
